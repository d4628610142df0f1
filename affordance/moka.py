"""A zero-shot baseline in the manner of MOKA (Fang et al., RSS 2024): a large model chooses among marks.

Any vision-language model behind an OpenAI-compatible endpoint is asked twice about an image: first which of
the numbered objects is to be held and which one is acted on, then for marks on those objects and for tiles of
a grid over free space. Where MOKA names a target angle in six words, of which four turn the gripper about the
vertical, an `Affordance` has room for the tilt alone: the closing axis is left to grasp refinement.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.chat import ChatConfig, ask
from ..core.ranges import above, at_least, within
from ..perception.frame import BoolArray, ImageArray
from ..perception.marks import Marks, draw_marks, draw_numbers, propose_marks
from ..perception.segmentation import Segmenter, TextPrompt
from ..perception.segmenters import PhotoSegmenterConfig, build_segmenter, check_names, photo_frame
from .model import Prediction
from .parse import load_object
from .schema import Affordance, InvalidKeypoints, Keypoint
from .units import from_pixel

# An image uint8 (H, W, 3) -> instance ids (H, W); 0 is background.
Segment = Callable[[ImageArray], NDArray[np.integer]]
Value = TypeVar("Value")
Height = Literal["same", "above"]
Tilt = Literal["level", "down", "up"]

OBJECTS_PROMPT = """A robot arm with a two-finger gripper works on the table in this photo.
Its task: {instruction}
The objects are outlined and numbered 1 to {count}. Which one must the gripper hold or push, and which other \
one, if any, is it then used on or brought to?
Reply with one JSON object and nothing else: {{"held": NUMBER, "other": NUMBER or null}}"""

MARKS_PROMPT = """A robot arm with a two-finger gripper works on the table in this photo.
Its task: {instruction}
Red dots {held} lie on the object to be held or pushed.{other} The white lines cut the photo into \
{columns} x {rows} tiles: letters a to {last_column} from left to right, numbers 1 to {rows} from bottom to \
top, so {first_tile} is the tile at the bottom left.
Plan one motion. Choose:
"grasp": the red dot where the gripper closes.
"function": the red dot on the part that does the work; null if no such part matters.
"target": the dot or the tile that this part must reach.
"pre_contact": the tile to pass through just before; null if the way does not matter.
"post_contact": the tile to move to just after; null if the motion ends at the target.
"pre_height", "post_height": "same" to move at the height at which the object lay, "above" to move over \
things; null where there is no such tile.
"tilt": "level" to keep the gripper as it grasped, "down" or "up" to lower or raise the working part.
Reply with one JSON object with exactly these eight keys and nothing else."""


@dataclass(frozen=True)
class MokaConfig:
    """The zero-shot baseline.

    Attributes:
        chat: where the vision-language model is served.
        objects: what the segmenter looks for in the photo, e.g. [brush, tray].
        marks: dots on each object.
        columns: of the grid.
        rows: of the grid.
        waypoint: where in its tile a point lies: in the centre, or anywhere at random as in MOKA.
        above: what "above" means, metres.
        tilt: what "down" and "up" mean, radians.
        attempts: replies asked for one answer; the first at temperature 0.
        temperature: of the others.
        seed: of random waypoints.
    """

    chat: ChatConfig = field(
        default_factory=lambda: ChatConfig("http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct")
    )
    objects: tuple[str, ...] = ()
    marks: int = 6
    columns: int = 5
    rows: int = 5
    waypoint: Literal["centre", "uniform"] = "centre"
    above: float = 0.1
    tilt: float = math.radians(30)
    attempts: int = 3
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "attempts", "marks")
        at_least(self, 0, "above", "seed")
        above(self, 0, "temperature")
        within(self, 0, math.pi / 2, "tilt")
        # Tiles are named by a letter and two digits.
        within(self, 1, 26, "columns")
        within(self, 1, 99, "rows")


class Choice(NamedTuple):
    """What the model chose; names of marks and tiles."""

    grasp: str
    function: str | None
    target: str
    pre_contact: str | None
    post_contact: str | None
    pre_height: Height | None
    post_height: Height | None
    tilt: Tilt


class NoUsableReply(ValueError):
    """Every reply was refused; `text` is the last one."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


class MokaModel:
    """A `KeypointModel` that asks a chat endpoint. It knows no probabilities: predictions have no confidence.

    Args:
        config: how the endpoint is asked.
        segment: finds the objects of an image.
    """

    def __init__(self, config: MokaConfig, segment: Segment) -> None:
        self.config = config
        self.segment = segment

    @classmethod
    def load(cls, config: MokaConfig, segmenter: PhotoSegmenterConfig) -> Self:
        """The model with a segmenter that finds the config's objects in photos.

        Raises:
            ValueError: no objects are named, or the segmenter reads no names.
        """
        check_names(segmenter, config.objects, "model.objects")
        return cls(config, find_in_photos(build_segmenter(segmenter), config.objects))

    def predict(self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]) -> list[Prediction]:
        """One prediction per (image, instruction) pair; see `affordance.model.KeypointModel`.

        Raises:
            ChatError: the endpoint does not answer; that is no wrong answer, so it is no prediction.
        """
        if len(images) != len(instructions):
            raise ValueError(f"{len(images)} images but {len(instructions)} instructions")
        return [self._predict(rgb, text) for rgb, text in zip(images, instructions, strict=True)]

    def _predict(self, rgb: NDArray[np.uint8], instruction: str) -> Prediction:
        masks = instance_masks(self.segment(rgb), rgb)
        if not masks:
            return Prediction(None, error="the segmenter found no object")
        try:
            marks = propose_marks(
                self._choose_objects(rgb, instruction, masks),
                self.config.marks,
                self.config.columns,
                self.config.rows,
            )
            prompt = marks_prompt(instruction, marks)
            choice, text = self._ask(prompt, draw_marks(rgb, marks), lambda reply: read_choice(reply, marks))
        except NoUsableReply as error:
            return Prediction(None, error=str(error), text=error.text)
        # The image's own generator: an answer does not depend on what else is predicted.
        entropy = [self.config.seed, zlib.crc32(rgb.tobytes()), zlib.crc32(instruction.encode())]
        return Prediction(
            to_affordance(choice, marks, self.config, np.random.default_rng(entropy)), text=text
        )

    def _choose_objects(
        self, rgb: NDArray[np.uint8], instruction: str, masks: Sequence[BoolArray]
    ) -> list[BoolArray]:
        """The mask of the held object and, if any, of the other one."""
        if len(masks) == 1:
            return list(masks)
        prompt = OBJECTS_PROMPT.format(instruction=instruction, count=len(masks))
        chosen, _ = self._ask(prompt, draw_numbers(rgb, masks), lambda reply: read_objects(reply, len(masks)))
        return [masks[number - 1] for number in chosen]

    def _ask(self, prompt: str, picture: ImageArray, read: Callable[[str], Value]) -> tuple[Value, str]:
        """The first reply that can be read, with its text."""
        text = reason = ""
        for attempt in range(self.config.attempts):
            text = ask(self.config.chat, prompt, picture, self.config.temperature if attempt else 0.0)
            try:
                return read(text), text
            except InvalidKeypoints as error:
                reason = str(error)
        count = self.config.attempts
        raise NoUsableReply(f"no usable answer in {count} replies, the last: {reason}", text)


def find_in_photos(segmenter: Segmenter, names: Sequence[str]) -> Segment:
    """A segmenter that reads text prompts, applied to photos without depth."""
    prompts = [TextPrompt(name) for name in names]

    def segment(rgb: ImageArray) -> ImageArray:
        return segmenter.segment(photo_frame(rgb), prompts).instance_map()

    return segment


def instance_masks(instances: NDArray[np.integer], rgb: ImageArray) -> list[BoolArray]:
    """One mask bool (H, W) per id, in the order of the ids."""
    if instances.shape != rgb.shape[:2]:
        raise ValueError(f"instance map: expected {rgb.shape[:2]}, got {instances.shape}")
    return [instances == number for number in np.unique(instances) if number != 0]


def marks_prompt(instruction: str, marks: Marks) -> str:
    """The question about marks and tiles."""
    held = [name for name in marks.points if name.startswith("P")]
    other = [name for name in marks.points if name.startswith("Q")]
    grid = marks.grid
    return MARKS_PROMPT.format(
        instruction=instruction,
        held=f"{held[0]} to {held[-1]}",
        other=f" Blue dots {other[0]} to {other[-1]} lie on the object it is used on." if other else "",
        columns=grid.columns,
        rows=grid.rows,
        last_column=grid.names[-1][0],
        first_tile=grid.names[0],
    )


def read_objects(text: str, count: int) -> list[int]:
    """The numbers of the held object and, if any, of the other one.

    Raises:
        InvalidKeypoints: naming the key at fault.
    """
    data = _exact_object(text, ("held", "other"))
    numbers = [data["held"]] if data["other"] is None else [data["held"], data["other"]]
    for key, number in zip(("held", "other"), numbers, strict=False):
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= count:
            raise InvalidKeypoints(f"{key}: expected a number from 1 to {count}, got {str(number)[:40]!r}")
    if len(set(map(str, numbers))) < len(numbers):
        raise InvalidKeypoints("other: the same object as the held one")
    return [int(str(number)) for number in numbers]


def read_choice(text: str, marks: Marks) -> Choice:
    """The chosen marks and tiles.

    Raises:
        InvalidKeypoints: naming the key at fault.
    """
    data = _exact_object(text, Choice._fields)
    held = [name for name in marks.points if name.startswith("P")]
    tiles = marks.grid.names
    options: Mapping[str, Sequence[str | None]] = {
        "grasp": held,
        "function": [*held, None],
        "target": [*marks.points, *tiles],
        "pre_contact": [*tiles, None],
        "post_contact": [*tiles, None],
        "pre_height": ["same", "above", None],
        "post_height": ["same", "above", None],
        "tilt": ["level", "down", "up"],
    }
    for key, value in data.items():
        if value not in options[key]:
            known = ", ".join(str(option) for option in options[key])
            raise InvalidKeypoints(f"{key}: {str(value)[:40]!r} is none of {known}")
    return Choice(**data)  # pyright: ignore[reportArgumentType]  checked above


def to_affordance(choice: Choice, marks: Marks, config: MokaConfig, rng: np.random.Generator) -> Affordance:
    """What was chosen, in fractions of the image, metres and radians.

    Args:
        choice: of these marks.
        marks: of the image.
        config: what the words mean.
        rng: for random waypoints.
    """
    grid = marks.grid

    def place(name: str | None) -> Keypoint | None:
        if name is None:
            return None
        if name in marks.points:
            pixel = marks.point(name)
        else:
            pixel = grid.centre(name) if config.waypoint == "centre" else grid.sample(name, rng)
        return from_pixel(pixel, grid.width, grid.height)

    height = {None: None, "same": 0.0, "above": config.above}
    return Affordance(
        grasp=place(choice.grasp),
        function=place(choice.function),
        target=place(choice.target),
        pre_contact=place(choice.pre_contact),
        post_contact=place(choice.post_contact),
        pre_height=height[choice.pre_height],
        post_height=height[choice.post_height],
        tool_tilt={"level": 0.0, "down": config.tilt, "up": -config.tilt}[choice.tilt],
    )


def _exact_object(text: str, keys: Sequence[str]) -> dict[str, object]:
    """A JSON object with exactly these keys."""
    data = load_object(text)
    for key in keys:
        if key not in data:
            raise InvalidKeypoints(f"{key}: missing")
    for key in data:
        if key not in keys:
            raise InvalidKeypoints(f"unknown key {key[:40]!r}; the keys are {', '.join(keys)}")
    return data
