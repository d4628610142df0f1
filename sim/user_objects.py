"""Objects that a user brings: a Python file with families, or a folder of URDF or OBJ files with keypoints.

A folder holds one `<name>.json` per object:

    {"category": "brush", "split": "test", "urdf": "broom.urdf",
     "keypoints": {"grasp": {"xyz": [0, 0, 0.02]}, "function": {"xyz": [0.1, 0, 0.02], "link": "head"}},
     "scalars": {"grasp_width": 0.02}, "friction": 1.0,
     "resting_poses": [{}, {"xyz": [0, 0, 0.03], "rpy": [3.1416, 0, 0]}]}

Keypoints are metres in the frame of a link ("base" is the root link). Instead of `urdf`, `obj` names a mesh
in metres; then `mass` (kilograms) may be given. Every file named must lie in the folder. One of the resting
poses is drawn for every scene; without any, the object stands as its root link's frame does.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args
from xml.etree import ElementTree

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .objects import Category, LinkPoint, ObjectFamily, ObjectModel, Split
from .resting import resting, root_link
from .urdf import Link, Part, urdf_text

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Needs:
    """What a category's tasks read from a model; an object without them is refused when it is loaded.

    Attributes:
        keypoints: by name; one whose name has an `_i` is there for every number from 0.
        scalars: likewise.
        count: the scalar that says how many of those there are.
    """

    keypoints: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    count: str = ""


_REACH = ("back", "front", "half_width")
NEEDS: Mapping[Category, Needs] = {
    "brush": Needs(("grasp", "function"), ("grasp_width", "handle_length", "head_depth", "head_width")),
    "trash": Needs(("target",), ("height", "radius")),
    "cabinet": Needs(("front_i",), ("drawers", "depth", "width", "tray_height", "protrusion"), "drawers"),
    "towel": Needs(("ridge",), _REACH),
    "rack": Needs(("bar_i",), ("bars", *_REACH), "bars"),
    "scoop": Needs(("handle", "lip", "fill"), ("fill_width", *_REACH)),
    "bowl": Needs(("centre",), ("half_x", "half_y", "height", "round", *_REACH)),
    "host": Needs(("socket_i",), ("sockets", "socket_i_yaw"), "sockets"),
    "stick": Needs(("grasp",)),
    "clutter": Needs((), ("radius",)),
}


class UserObjectError(ValueError):
    """A user's object cannot be used; the message names the file and the field."""


class _KeypointEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    xyz: Point
    link: str = "base"


class _RestingPose(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    xyz: Point = (0.0, 0.0, 0.0)
    rpy: Point = (0.0, 0.0, 0.0)
    keypoints: dict[str, _KeypointEntry] = {}
    scalars: dict[str, float] = {}

    def of(self, model: ObjectModel) -> ObjectModel:
        """The object in this pose."""
        return resting(model, self.xyz, self.rpy, _points(self.keypoints), self.scalars)


class _ObjectEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    category: Category
    split: Split
    urdf: str = ""
    obj: str = ""
    mass: float = Field(default=0.1, gt=0)
    keypoints: dict[str, _KeypointEntry]
    scalars: dict[str, float] = {}
    friction: float = Field(default=1.0, ge=0)
    resting_poses: list[_RestingPose] = []


@dataclass(frozen=True)
class UserFamily:
    """A family of one object read from a folder.

    Attributes:
        model: the object, standing as its root link's frame does.
        split: who may use it.
        poses: the object in each of its resting poses; empty when it has only that one.
    """

    model: ObjectModel
    split: Split
    poses: tuple[ObjectModel, ...] = ()

    @property
    def name(self) -> str:
        """The name of its JSON file."""
        return self.model.family

    @property
    def category(self) -> Category:
        """What it is for."""
        return self.model.category

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """The one object, in one of its resting poses; draws nothing when there are none to draw from."""
        return self.poses[int(rng.integers(len(self.poses)))] if self.poses else self.model


def load_families(path: Path) -> tuple[ObjectFamily, ...]:
    """Families from a Python file (its `FAMILIES`) or a folder of objects.

    A Python file is run, so load only files that you trust; a folder is only read.

    Raises:
        UserObjectError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".py" and path.is_file():
        return _from_module(path)
    raise UserObjectError(f"{path}: expected a Python file or a folder of objects")


def _from_module(path: Path) -> tuple[ObjectFamily, ...]:
    name = f"kalie_user_objects_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserObjectError(f"{path}: not importable as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(path, "importing it", error) from error
    families = vars(module).get("FAMILIES")
    if not isinstance(families, Iterable):
        raise UserObjectError(f"{path}: defines no FAMILIES")
    return tuple(_checked(path, family) for family in families)


def _checked(path: Path, family: ObjectFamily) -> ObjectFamily:
    """Draw one instance, so that a broken family is refused before a benchmark starts."""
    try:
        sample = family.sample
        known = family.category in get_args(Category) and family.split in get_args(Split)
    except AttributeError as error:
        raise UserObjectError(f"{path}: {family!r} is no ObjectFamily: {error}") from None
    if not known:
        raise UserObjectError(f"{path}: {family.name}: unknown category or split")
    try:
        model = sample(np.random.default_rng(0))
    except Exception as error:
        raise _failed(path, f"{family.name}: sample", error) from error
    if not isinstance(model, ObjectModel):
        raise UserObjectError(f"{path}: {family.name}: sample returned {model!r}, not an ObjectModel")
    _check_model(path, model)
    return family


def _failed(path: Path, what: str, error: Exception) -> UserObjectError:
    """A user's code may raise anything; the traceback stays attached as the cause."""
    return UserObjectError(f"{path}: {what} raised {type(error).__name__}: {error}")


def _from_folder(folder: Path) -> tuple[ObjectFamily, ...]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserObjectError(f"{folder}: holds no object, i.e. no *.json file")
    return tuple(_read_object(folder.resolve(), file) for file in files)


def _read_object(folder: Path, file: Path) -> UserFamily:
    try:
        entry = _ObjectEntry.model_validate_json(_inside(folder, file.name).read_bytes())
    except (ValidationError, json.JSONDecodeError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        field = ".".join(str(part) for part in detail["loc"]) or "JSON"
        raise UserObjectError(f"{file}: {field}: {detail['msg']}") from None
    if bool(entry.urdf) == bool(entry.obj):
        raise UserObjectError(f"{file}: give either urdf or obj")
    text = _read_urdf(folder, entry.urdf) if entry.urdf else _mesh_urdf(folder, file.stem, entry)
    model = ObjectModel(
        entry.category,
        file.stem,
        text,
        _points(entry.keypoints),
        entry.scalars,
        asset_dir=str(folder),
        friction=entry.friction,
    )
    _check_model(file, model)
    poses = tuple(pose.of(model) for pose in entry.resting_poses)
    for pose in poses:
        _check_model(file, pose)
    return UserFamily(model, entry.split, poses)


def _points(entries: Mapping[str, _KeypointEntry]) -> dict[str, LinkPoint]:
    return {name: LinkPoint(point.xyz, point.link) for name, point in entries.items()}


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder. A path that leaves it, by itself or through a link, is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise UserObjectError(f"{folder / name}: lies outside the object folder")
    if not path.is_file():
        raise UserObjectError(f"{folder / name}: no such file")
    return path


def _read_urdf(folder: Path, name: str) -> str:
    path = _inside(folder, name)
    try:
        root = ElementTree.fromstring(path.read_text())  # noqa: S314 - entities are refused below
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UserObjectError(f"{path}: not a URDF: {error}") from None
    for mesh in root.iter("mesh"):
        _inside(folder, mesh.get("filename", ""))
    for joint in root.iter("joint"):
        if joint.get("type") in ("revolute", "prismatic") and joint.find("limit") is None:
            raise UserObjectError(f"{path}: joint {joint.get('name')!r} has no <limit>")
    return ElementTree.tostring(root, encoding="unicode")


def _mesh_urdf(folder: Path, name: str, entry: _ObjectEntry) -> str:
    mesh = _inside(folder, entry.obj)
    try:
        rows = [line.split()[1:4] for line in mesh.read_text().splitlines() if line.startswith("v ")]
        extent = np.ptp(np.array(rows, dtype=np.float64).reshape(-1, 3), axis=0)
    except ValueError as error:
        raise UserObjectError(f"{mesh}: not an OBJ file: {error}") from None
    size = cast(Point, tuple(float(edge) for edge in extent))
    part = Part("mesh", (1.0, 1.0, 1.0), mass=entry.mass, mesh=entry.obj, extent=size)
    return urdf_text(name, [Link("base", (part,))])


def _check_model(path: Path, model: ObjectModel) -> None:
    needs = NEEDS[model.category]
    _check_names(path, model, "scalars", [name for name in needs.scalars if not _numbered(name)])
    _check_names(path, model, "keypoints", [name for name in needs.keypoints if not _numbered(name)])
    count = _count(path, model, needs.count) if needs.count else 0
    for index in range(count):
        for kind, names in (("scalars", needs.scalars), ("keypoints", needs.keypoints)):
            numbered = [name.replace("_i", f"_{index}") for name in names if _numbered(name)]
            _check_names(path, model, kind, numbered)
    _check_links(path, model, count)


def _numbered(name: str) -> bool:
    return name.endswith("_i") or "_i_" in name


def _check_names(path: Path, model: ObjectModel, kind: str, names: Iterable[str]) -> None:
    there = model.scalars if kind == "scalars" else model.keypoints
    for name in names:
        if name not in there:
            raise UserObjectError(f"{path}: {kind}.{name}: missing, a {model.category} needs it")


def _count(path: Path, model: ObjectModel, name: str) -> int:
    count = model.scalars[name]
    if count not in (1, 2, 3):
        raise UserObjectError(f"{path}: scalars.{name}: expected 1, 2 or 3, got {count:g}")
    return int(count)


def _check_links(path: Path, model: ObjectModel, count: int) -> None:
    """Keypoints lie on links of the URDF, a cabinet's on drawers that move."""
    try:
        root = ElementTree.fromstring(model.urdf)  # noqa: S314
    except ElementTree.ParseError as error:
        raise UserObjectError(f"{path}: urdf: not a URDF: {error}") from None
    links = {link.get("name") for link in root.iter("link")}
    base = root_link(root)
    for name, point in model.keypoints.items():
        if point.link != "base" and point.link not in links:
            raise UserObjectError(f"{path}: keypoints.{name}: the URDF has no link {point.link!r}")
        if point.link == base != "base":
            raise UserObjectError(f"{path}: keypoints.{name}: {base!r} is the root link; call it 'base' here")
    if model.category != "cabinet":
        return
    slides = [joint.find("child") for joint in root.iter("joint") if joint.get("type") == "prismatic"]
    moved = {child.get("link") for child in slides if child is not None}
    for drawer in (f"drawer_{index}" for index in range(count)):
        if drawer not in moved:
            raise UserObjectError(f"{path}: urdf: no prismatic joint moves a link {drawer!r}")
