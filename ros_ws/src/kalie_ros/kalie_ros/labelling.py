"""Labelled images from recordings: every affordance with the picture it belongs to, found by its stamp."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.perception.frame import ImageArray, RgbdFrame
from kalie.perception.segmentation import Segmenter, TabletopSegmenter

from .bag import BagError, BagReader, Recorded, Topic, header_stamp
from .conversions import affordance_from_msg, image_to_depth, image_to_rgb, intrinsics_of, seconds
from .frames import MAX_TRANSFORM_AGE, FrameTree, StaleTransform

LabelSource = Literal["executed", "predicted"]
LABEL_TOPICS: Mapping[LabelSource, str] = {
    "executed": "/kalie/control/executed",
    "predicted": "/kalie/affordance/affordance",
}
# A goal's instruction is what was executed; what the affordance node is told matters to its own answers only.
INSTRUCTION_TOPICS: Mapping[LabelSource, tuple[str, ...]] = {
    "executed": ("/kalie/instruction",),
    "predicted": ("/kalie/instruction", "/kalie/affordance/instruction"),
}
FIXED_TRANSFORMS = "/tf_static"
TRANSFORM_TOPICS = (FIXED_TRANSFORMS, "/tf")
# Colour, depth and camera info of one stamp come together; nanoseconds after which the rest does not come.
PATIENCE = 2 * 10**9


@dataclass(frozen=True)
class Sources:
    """Where things stand in a recording.

    Attributes:
        labels: executed affordances, or every predicted one.
        image: topic of the colour images that affordances refer to.
        depth: topic of the depth images registered to them.
        info: topic of their camera info.
        base: the robot's base frame, in which the segmenter looks.
        instruction: for labels before which none was recorded; empty to leave them out.
    """

    labels: LabelSource = "executed"
    image: str = "/camera/color/image_raw"
    depth: str = "/camera/aligned_depth_to_color/image_raw"
    info: str = "/camera/color/camera_info"
    base: str = "panda_link0"
    instruction: str = ""


@dataclass
class Tally:
    """What became of the labels.

    Attributes:
        labels: found.
        images: labelled images made.
        left_out: labels without one, by the reason.
        unmasked: labelled images without masks, by the reason.
    """

    labels: int = 0
    images: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unmasked: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Label:
    affordance: Affordance
    instruction: str
    camera: str


@dataclass
class _Shot:
    """The messages of one stamp as they come in."""

    since: int
    parts: dict[str, Recorded] = field(default_factory=dict)


@dataclass
class Labeller:
    """Turns recordings into labelled images; a label that occurs in several is used once.

    Attributes:
        sources: where things stand in the recordings.
        segmenter: finds the masks in colour and depth.
        tally: of all recordings so far.
    """

    sources: Sources = field(default_factory=Sources)
    segmenter: Segmenter = field(default_factory=TabletopSegmenter)
    tally: Tally = field(default_factory=Tally)
    _seen: set[tuple[int, str]] = field(default_factory=set, init=False)
    _ids: set[str] = field(default_factory=set, init=False)

    def images(self, bag: BagReader) -> Iterator[LabelledImage]:
        """The labelled images of one recording.

        Raises:
            BagError: a topic holds another type than its purpose asks for.
        """
        labels, tree = self._labels(bag), FrameTree()
        if not labels:
            return
        for stamp, parts in self._shots(bag, labels, tree):
            for label in labels.pop(stamp):
                made = None if self._is_known(stamp, label) else self._image(bag, stamp, label, parts, tree)
                if made is not None:
                    self._seen.add((stamp, label.instruction))
                    self.tally.images += 1
                    yield made
        for stamp, label in [(stamp, label) for stamp, some in labels.items() for label in some]:
            if not self._is_known(stamp, label):
                self.tally.left_out["no image has their stamp"] += 1

    def _is_known(self, stamp: int, label: _Label) -> bool:
        """Whether a label was used before; a latched one is in every recording after it."""
        if (stamp, label.instruction) not in self._seen:
            return False
        self.tally.left_out["they occur twice"] += 1
        return True

    def _labels(self, bag: BagReader) -> dict[int, list[_Label]]:
        """Labels by the stamp of their image, nanoseconds."""
        label_topic, instruction = LABEL_TOPICS[self.sources.labels], self.sources.instruction
        instruction_topics = INSTRUCTION_TOPICS[self.sources.labels]
        found: dict[int, list[_Label]] = defaultdict(list)
        for message in bag.messages({label_topic, *instruction_topics}):
            if message.topic.name in instruction_topics:
                _expect(bag, message.topic, "std_msgs/msg/String")
                instruction = bag.decode(message).data.strip() or self.sources.instruction
                continue
            _expect(bag, message.topic, "kalie_interfaces/msg/Affordance")
            self.tally.labels += 1
            try:
                found[header_stamp(message.data)].append(_label(bag.decode(message), instruction))
            except ValueError as error:
                self.tally.left_out[str(error)] += 1
        return found

    def _shots(
        self, bag: BagReader, labels: Mapping[int, object], tree: FrameTree
    ) -> Iterator[tuple[int, dict[str, Recorded]]]:
        """Stamps with an image and a label, and the messages of that stamp by topic; `tree` keeps up."""
        types = {
            self.sources.image: "sensor_msgs/msg/Image",
            self.sources.depth: "sensor_msgs/msg/Image",
            self.sources.info: "sensor_msgs/msg/CameraInfo",
        }
        open_shots: dict[int, _Shot] = {}
        for message in bag.messages({*types, *TRANSFORM_TOPICS}):
            if message.topic.name in TRANSFORM_TOPICS:
                add = tree.add_fixed if message.topic.name == FIXED_TRANSFORMS else tree.add
                # Where a transform is missing, the look-up says so.
                with suppress(ValueError):
                    add(bag.decode(message))
                continue
            _expect(bag, message.topic, types[message.topic.name])
            stamp = header_stamp(message.data)
            if stamp in labels:
                shot = open_shots.setdefault(stamp, _Shot(message.log_time))
                shot.parts[message.topic.name] = message
            late = message.log_time - PATIENCE
            ready = [
                at for at, shot in open_shots.items() if len(shot.parts) == len(types) or shot.since < late
            ]
            yield from _with_image(open_shots, ready, self.sources.image)
        yield from _with_image(open_shots, list(open_shots), self.sources.image)

    def _image(
        self, bag: BagReader, stamp: int, label: _Label, parts: dict[str, Recorded], tree: FrameTree
    ) -> LabelledImage | None:
        try:
            message = bag.decode(parts[self.sources.image])
            if message.header.frame_id != label.camera:
                raise ValueError(
                    f"they belong to the camera {label.camera!r}, not {message.header.frame_id!r}"
                )
            rgb = image_to_rgb(message)
        except ValueError as error:
            self.tally.left_out[str(error)] += 1
            return None
        masks = None
        try:
            masks = self.segmenter.segment(self._frame(bag, rgb, label, parts, tree)).instance_map()
        except ValueError as error:
            self.tally.unmasked[str(error)] += 1
        name = self._new_id(bag, stamp)
        details = {"recording": bag.path.name, "stamp": _seconds(stamp), "label": self.sources.labels}
        return LabelledImage(
            name, rgb, label.instruction, label.affordance, Provenance("photo", name, details=details), masks
        )

    def _frame(
        self, bag: BagReader, rgb: ImageArray, label: _Label, parts: dict[str, Recorded], tree: FrameTree
    ) -> RgbdFrame:
        """The picture with its depth. Raises ValueError where something is missing or does not fit."""
        for name in (self.sources.depth, self.sources.info):
            if name not in parts:
                raise ValueError(f"{name} has no message of their stamp")
        depth_message = bag.decode(parts[self.sources.depth])
        intrinsics = intrinsics_of(bag.decode(parts[self.sources.info]))
        taken = seconds(depth_message.header.stamp)
        try:
            base_from_camera = tree.lookup(self.sources.base, label.camera, taken, MAX_TRANSFORM_AGE)
        except StaleTransform:
            # Without the seconds, which would make a reason of its own of every image.
            limit = f"{MAX_TRANSFORM_AGE:g} s"
            raise ValueError(f"their camera's transform is off them by more than {limit}") from None
        return RgbdFrame(rgb, image_to_depth(depth_message), intrinsics, base_from_camera)

    def _new_id(self, bag: BagReader, stamp: int) -> str:
        """A file-name stem that no image has yet."""
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", bag.path.stem).strip("_-")[:80] or "recording"
        wanted = [f"{stem}_{stamp}", *(f"{stem}_{stamp}_{number}" for number in range(2, 1000))]
        name = next(item for item in wanted if item not in self._ids)
        self._ids.add(name)
        return name


def _with_image(
    shots: dict[int, _Shot], stamps: list[int], image: str
) -> Iterator[tuple[int, dict[str, Recorded]]]:
    """Take shots out; those that have an image come."""
    for stamp in stamps:
        parts = shots.pop(stamp).parts
        if image in parts:
            yield stamp, parts


def _label(message: Any, instruction: str) -> _Label:  # noqa: ANN401 - decoded by the recorded definition
    affordance = affordance_from_msg(message).affordance
    if affordance is None or next(affordance.keypoints(), None) is None:
        raise ValueError("they have no keypoints")
    if not instruction:
        raise ValueError("no instruction was recorded before them")
    return _Label(affordance, instruction, message.header.frame_id)


def _expect(bag: BagReader, topic: Topic, wanted: str) -> None:
    if topic.type != wanted:
        raise BagError(f"{bag.path}: {topic.name} holds {topic.type}, expected {wanted}")


def _seconds(stamp: int) -> str:
    return f"{stamp // 10**9}.{stamp % 10**9:09d}"
