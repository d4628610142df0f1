"""Scenes of toy things for pre-training: drawn once without colour, painted anew at every use.

A drawing holds, per pixel, how bright it is and which part it shows. Colours and patterns are put on when a
batch is made, so a few thousand drawings give any number of differently coloured images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..perception.frame import FloatArray
from .camera import Camera, CameraConfig
from .objects import ObjectModel
from .pointing_shapes import Grip, Thing, sample_thing
from .urdf import Link, Part, urdf_text
from .world import TABLE, Lighting, World, WorldConfig, yaw_quaternion

WHITE = (1.0, 1.0, 1.0, 1.0)
# Part numbers in a drawing; things' parts follow.
FLOOR, TABLE_TOP, ROBOT, FIRST_PART = 0, 1, 2, 3
# Least distance of a thing's frame to the table's edge, metres.
MARGIN = 0.04
# Shares of scenes with one, two, ... things.
COUNTS = (0.3, 0.35, 0.2, 0.1, 0.05)
# Scenes after which a world is replaced, because Bullet keeps a little of all that it ever loaded.
WORLD_LIFE = 100


@dataclass(frozen=True)
class Hold:
    """A grip of a placed thing in the base frame: metres; `closing` is the jaws' axis in the xy plane."""

    xyz: tuple[float, float, float]
    closing: float | None
    width: float


@dataclass(frozen=True)
class PlacedThing:
    """A thing on the table.

    Attributes:
        names: what it may be called.
        parts: its part numbers in the drawing.
        middle: where it is held by default.
        ends: by name.
        radius: metres around its frame that it takes.
    """

    names: tuple[str, ...]
    parts: tuple[int, ...]
    middle: Hold
    ends: dict[str, Hold]
    radius: float


@dataclass(frozen=True)
class Drawing:
    """One uncoloured scene.

    Attributes:
        shade: uint8 (S, S), brightness of a white surface.
        parts: uint8 (S, S), part numbers.
        things: on the table.
        pixel_from_base: (3, 4), homogeneous pixel of a homogeneous point.
    """

    shade: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    things: tuple[PlacedThing, ...]
    pixel_from_base: FloatArray

    def project(self, xyz: Sequence[float] | FloatArray) -> FloatArray:
        """Fractions (x, y) of the image where a point of the base frame is seen."""
        u, v, depth = self.pixel_from_base @ np.array([*xyz, 1.0])
        return (np.array([u, v]) / depth + 0.5) / len(self.shade)


def _model(part: Part) -> ObjectModel:
    """A part as a body of its own, so that a drawing can tell it from its neighbours."""
    return ObjectModel(
        "clutter", "thing", urdf_text("thing", [Link("base", (replace(part, colour=WHITE),))]), {}
    )


def draw_scene(world: World, rng: np.random.Generator) -> Drawing:
    """Place one to five things on the table and draw them.

    Few are the rule: what a question means is learned where there is little else that it could mean.
    """
    world.reset()
    _whiten(world)
    view = replace(world.camera.config, field_of_view=rng.uniform(32, 45))
    world.camera = Camera(world.camera.base_from_camera, view).jittered(0.03, 0.03, rng)
    world.lighting = _light(rng)
    numbers = {world.table: TABLE_TOP, world.floor: FLOOR, world.robot: ROBOT, -1: FLOOR}
    things: list[PlacedThing] = []
    for _ in range(1 + int(rng.choice(len(COUNTS), p=COUNTS))):
        thing = sample_thing(rng)
        spot = _free_spot(thing, things, rng)
        if spot is not None:
            things.append(_place(world, thing, spot, rng.uniform(-np.pi, np.pi), numbers))
    frame, bodies = world.render_with_bodies()
    lut = np.full(max(numbers) + 2, FLOOR, dtype=np.uint8)
    for body, number in numbers.items():
        lut[body] = number
    pixel_from_base = frame.intrinsics.matrix @ np.linalg.inv(frame.base_from_camera)[:3]
    return Drawing(frame.rgb[:, :, 1].copy(), lut[bodies], tuple(things), pixel_from_base)


def _whiten(world: World) -> None:
    for body in (world.table, world.floor):
        world.bullet.changeVisualShape(body, -1, rgbaColor=WHITE)


def _light(rng: np.random.Generator) -> Lighting:
    angle, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9)
    return Lighting(
        direction=(lean * np.cos(angle), lean * np.sin(angle), 1.0),
        ambient=rng.uniform(0.3, 0.55),
        diffuse=rng.uniform(0.25, 0.45),
        shadow=rng.uniform(0.2, 0.5) if rng.random() < 0.5 else 0.0,
    )


def _free_spot(
    thing: Thing, others: Sequence[PlacedThing], rng: np.random.Generator
) -> tuple[float, float] | None:
    """Where on the table there is room for a thing; None after a few tries."""
    for _ in range(8):
        x, y = (
            rng.uniform(TABLE.near + MARGIN, TABLE.far - MARGIN),
            rng.uniform(TABLE.right + MARGIN, TABLE.left - MARGIN),
        )
        gaps = [
            np.hypot(x - other.middle.xyz[0], y - other.middle.xyz[1]) - 0.75 * (thing.radius + other.radius)
            for other in others
        ]
        if min(gaps, default=1.0) > 0:
            return x, y
    return None


def _place(
    world: World, thing: Thing, spot: tuple[float, float], yaw: float, numbers: dict[int, int]
) -> PlacedThing:
    """Put a thing on the table; its parts get the next numbers."""
    first = max(FIRST_PART, max(numbers.values()) + 1)
    for offset, part in enumerate(thing.parts):
        body = world.load(_model(part), (*spot, 0.0005), yaw_quaternion(yaw), fixed_base=True)
        numbers[body.body] = first + offset
    parts = tuple(range(first, first + len(thing.parts)))
    ends = {name: _hold(grip, *spot, yaw) for name, grip in thing.ends.items()}
    return PlacedThing(thing.names, parts, _hold(thing.middle, *spot, yaw), ends, thing.radius)


def _hold(grip: Grip, x: float, y: float, yaw: float) -> Hold:
    cos, sin = np.cos(yaw), np.sin(yaw)
    gx, gy, gz = grip.xyz
    closing = None if grip.closing is None else float(grip.closing + yaw)
    return Hold(
        (float(x + cos * gx - sin * gy), float(y + sin * gx + cos * gy), float(gz)), closing, grip.width
    )


def draw_scenes(
    directory: Path, count: int, size: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write `count` drawings; goes on where an earlier call stopped.

    Args:
        directory: gets `shade.npy`, `parts.npy` (count, size, size) and `things.jsonl`.
        count: scenes.
        size: image side, pixels.
        seed: scene i depends on (seed, i) alone.
        progress: called with (scenes done, count).
    """
    directory.mkdir(parents=True, exist_ok=True)
    shade, parts = (_image_file(directory / f"{name}.npy", count, size) for name in ("shade", "parts"))
    lines = directory / "things.jsonl"
    done = _whole_lines(lines)
    with lines.open("a") as file:
        for first in range(done, count, WORLD_LIFE):
            world = World(WorldConfig(camera=CameraConfig(size=size)))
            for index in range(first, min(first + WORLD_LIFE, count)):
                drawing = draw_scene(world, np.random.default_rng((seed, index)))
                shade[index], parts[index] = drawing.shade, drawing.parts
                file.write(_to_line(drawing))
                if progress is not None:
                    progress(index + 1, count)
            shade.flush()
            parts.flush()
            file.flush()
            world.close()


def _image_file(path: Path, count: int, size: int) -> np.memmap:
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size, size))


def _whole_lines(path: Path) -> int:
    """How many scenes are written; the file is cut to whole worlds, whose images are on disk for sure."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = len(lines) // WORLD_LIFE * WORLD_LIFE
    path.write_text("".join(lines[:whole]))
    return whole


def _to_line(drawing: Drawing) -> str:
    things = [asdict(thing) for thing in drawing.things]
    return json.dumps({"pixel_from_base": drawing.pixel_from_base.tolist(), "things": things}) + "\n"


class DrawingFile:
    """The drawings that `draw_scenes` wrote, read as they are needed."""

    def __init__(self, directory: Path) -> None:
        """Open a directory.

        Raises:
            FileNotFoundError: it holds no drawings.
        """
        self.shade = np.load(directory / "shade.npy", mmap_mode="r")
        self.parts = np.load(directory / "parts.npy", mmap_mode="r")
        self.lines = (directory / "things.jsonl").read_text().splitlines()

    @property
    def size(self) -> int:
        """Side of a drawing, pixels."""
        return self.shade.shape[1]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Drawing:
        record = json.loads(self.lines[index])
        things = tuple(_thing_from_json(thing) for thing in record["things"])
        return Drawing(self.shade[index], self.parts[index], things, np.array(record["pixel_from_base"]))


def _thing_from_json(data: dict[str, Any]) -> PlacedThing:
    return PlacedThing(
        names=tuple(data["names"]),
        parts=tuple(data["parts"]),
        middle=_hold_from_json(data["middle"]),
        ends={name: _hold_from_json(hold) for name, hold in data["ends"].items()},
        radius=data["radius"],
    )


def _hold_from_json(data: dict[str, Any]) -> Hold:
    x, y, z = data["xyz"]
    return Hold((x, y, z), data["closing"], data["width"])
