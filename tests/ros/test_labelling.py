"""Recordings become labelled photos: what was executed, with the picture of its stamp, nothing guessed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage
from kalie.affordance.schema import Affordance, Keypoint
from kalie.perception.frame import Intrinsics, RgbdFrame
from kalie.perception.segmentation import Prompt, Segmentation
from kalie.sim.annotate import Photographer
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World
from kalie.synthesis.pipeline import SynthesisConfig, synthesise
from kalie_ros.bag import BagError, BagReader
from kalie_ros.conversions import affordance_to_msg, camera_info, depth_to_image, rgb_to_image, stamped
from kalie_ros.labelling import Labeller, Sources
from kalie_ros.qos import LATCHED

from .bags import Said, write_bag

CAMERA = "camera_color_optical_frame"
EXECUTED, PREDICTED = "/kalie/control/executed", "/kalie/affordance/affordance"
INTRINSICS = Intrinsics(8, 6, 10.0, 10.0, 4.0, 3.0)
LABEL = Affordance(grasp=Keypoint(0.5, 0.25), grasp_yaw=0.5)


def header(second: int, frame: str = CAMERA) -> Header:
    made = Header(frame_id=frame)
    made.stamp.sec, made.stamp.nanosec = second, 7
    return made


def picture(second: int) -> np.ndarray:
    return np.full((6, 8, 3), second, np.uint8)


def frame(second: int) -> list[Said]:
    """Colour, depth and camera info of one stamp, as they arrive a moment later."""
    return [
        Said("/camera/color/image_raw", rgb_to_image(picture(second), header(second)), second + 0.1),
        Said(
            "/camera/aligned_depth_to_color/image_raw",
            depth_to_image(np.ones((6, 8), np.float32), header(second)),
            second + 0.11,
        ),
        Said("/camera/color/camera_info", camera_info(INTRINSICS, header(second)), second + 0.12),
    ]


def label(second: int, at: float, topic: str = EXECUTED, affordance: Affordance = LABEL) -> Said:
    return Said(topic, affordance_to_msg(affordance, header(second)), at, LATCHED)


def instruct(text: str, at: float, topic: str = "/kalie/instruction") -> Said:
    return Said(topic, String(data=text), at, LATCHED)


def episode() -> list[Said]:
    """Five frames; of frame 12 the label was executed."""
    said = [Said("/joint_states", JointState(), 9.0), instruct("sweep", 9.5)]
    for second in range(10, 15):
        said += frame(second)
    return [*said, label(12, 40.0)]


def images(path: Path, labeller: Labeller) -> list[LabelledImage]:
    with BagReader(path) as bag:
        return list(labeller.images(bag))


def test_a_label_gets_the_picture_of_its_stamp_and_says_where_it_is_from(tmp_path: Path) -> None:
    labeller = Labeller()
    (photo,) = images(write_bag(tmp_path / "run 1.mcap", episode()), labeller)
    assert np.array_equal(photo.rgb, picture(12))
    assert (photo.instruction, photo.affordance) == ("sweep", LABEL)
    assert photo.id == "run_1_12000000007"
    assert photo.provenance.source == "photo"
    assert photo.provenance.parent == photo.id
    assert photo.provenance.details == {
        "recording": "run 1.mcap",
        "stamp": "12.000000007",
        "label": "executed",
    }
    assert not labeller.tally.left_out


def test_only_what_was_executed_counts_unless_predictions_are_wanted(tmp_path: Path) -> None:
    said = [*episode(), label(10, 41.0, PREDICTED), label(11, 42.0, PREDICTED)]
    path = write_bag(tmp_path / "a.mcap", said)
    assert [photo.rgb[0, 0, 0] for photo in images(path, Labeller())] == [12]
    predicted = images(path, Labeller(Sources(labels="predicted")))
    assert [photo.rgb[0, 0, 0] for photo in predicted] == [10, 11]


def test_an_executed_label_has_the_newest_instruction_of_goals(tmp_path: Path) -> None:
    said = [
        *episode(),
        instruct("look at the cup", 41.0, "/kalie/affordance/instruction"),
        label(13, 42.0),
        instruct("pour", 43.0),
        label(14, 44.0),
    ]
    photos = images(write_bag(tmp_path / "a.mcap", said), Labeller())
    assert [photo.instruction for photo in photos] == ["sweep", "sweep", "pour"]


def test_when_something_is_missing_expect_it_counted_and_nothing_guessed(tmp_path: Path) -> None:
    no_keypoints, outside = affordance_to_msg(Affordance(), header(13)), affordance_to_msg(LABEL, header(13))
    outside.keypoints[0].x = 1.5
    other_camera = affordance_to_msg(LABEL, header(14, "wrist"))
    said = [
        *[label(10, 8.0)],  # before any instruction
        *episode(),
        label(99, 50.0),
        Said(EXECUTED, no_keypoints, 51.0),
        Said(EXECUTED, outside, 52.0),
        Said(EXECUTED, other_camera, 53.0),
        label(12, 54.0),
    ]
    labeller = Labeller()
    assert len(images(write_bag(tmp_path / "a.mcap", said), labeller)) == 1
    reasons = dict(labeller.tally.left_out)
    assert reasons.pop("no instruction was recorded before them") == 1
    assert reasons.pop("no image has their stamp") == 1
    assert reasons.pop("they have no keypoints") == 1
    assert reasons.pop("they occur twice") == 1
    assert sorted(reason.split(":")[0] for reason in reasons) == [
        "grasp",
        f"they belong to the camera 'wrist', not '{CAMERA}'",
    ]
    assert labeller.tally.labels == 7


def test_a_given_instruction_serves_where_none_was_recorded(tmp_path: Path) -> None:
    said = [item for item in episode() if item.topic != "/kalie/instruction"]
    path = write_bag(tmp_path / "a.mcap", said)
    assert images(path, Labeller()) == []
    (photo,) = images(path, Labeller(Sources(instruction="close it")))
    assert photo.instruction == "close it"


def test_a_label_latched_into_the_next_recording_is_used_once(tmp_path: Path) -> None:
    first = write_bag(tmp_path / "a.mcap", episode())
    latched = [instruct("sweep", 60.0), label(12, 60.1), *frame(61)]
    second = write_bag(tmp_path / "b.mcap", latched)
    labeller = Labeller()
    assert [len(images(path, labeller)) for path in (first, second)] == [1, 0]
    assert dict(labeller.tally.left_out) == {"they occur twice": 1}


def test_when_a_topic_holds_another_type_expect_it_named(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.mcap", [*episode(), label(12, 50.0)])
    with pytest.raises(BagError, match="/joint_states holds sensor_msgs/msg/JointState, expected"):
        images(path, Labeller(Sources(image="/joint_states")))


def test_when_depth_or_pose_is_missing_expect_the_photo_without_masks(tmp_path: Path) -> None:
    said = [item for item in episode() if "depth" not in item.topic]
    labeller = Labeller()
    (photo,) = images(write_bag(tmp_path / "a.mcap", said), labeller)
    assert photo.masks is None
    (photo,) = images(write_bag(tmp_path / "b.mcap", [*episode()[:-1], label(11, 40.0)]), labeller)
    assert photo.masks is None
    no_depth, no_pose = sorted(labeller.tally.unmasked)
    assert no_depth == "/camera/aligned_depth_to_color/image_raw has no message of their stamp"
    assert no_pose.startswith("no transform connects 'panda_link0'")


@pytest.mark.parametrize(("topic", "unmasked"), [("/tf_static", False), ("/tf", True)])
def test_when_the_camera_was_last_seen_elsewhere_long_before_expect_no_masks(
    tmp_path: Path, topic: str, unmasked: bool
) -> None:
    tf = TFMessage(transforms=[stamped("panda_link0", CAMERA, np.eye(4), header(10))])
    labeller = Labeller(segmenter=_Nothing())
    (photo,) = images(write_bag(tmp_path / "a.mcap", [Said(topic, tf, 10.0), *episode()]), labeller)
    assert (photo.masks is None) == unmasked
    reason = "their camera's transform is off them by more than 0.2 s"
    assert dict(labeller.tally.unmasked) == ({reason: 1} if unmasked else {})


class _Nothing:
    """A segmenter that finds nothing in any frame."""

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        return Segmentation((), *frame.rgb.shape[:2])


def test_masks_are_those_of_a_photograph(tmp_path: Path) -> None:
    world, sweep = World(), task("sweep")
    staged = stage(world, sweep, "train", 5, Photographer(world, sweep).registry)
    shot, at = staged.frame, header(20)
    tf: TransformStamped = stamped("panda_link0", CAMERA, shot.base_from_camera, at)
    said = [
        Said("/tf_static", TFMessage(transforms=[tf]), 1.0, LATCHED),
        instruct("sweep", 2.0),
        Said("/camera/color/image_raw", rgb_to_image(shot.rgb, at), 20.1),
        Said("/camera/aligned_depth_to_color/image_raw", depth_to_image(shot.depth, at), 20.2),
        Said("/camera/color/camera_info", camera_info(shot.intrinsics, at), 20.3),
        Said(EXECUTED, affordance_to_msg(staged.affordance, at), 30.0, LATCHED),
    ]
    labeller = Labeller()
    (photo,) = images(write_bag(tmp_path / "a.mcap", said), labeller)
    assert not labeller.tally.unmasked
    assert np.array_equal(photo.rgb, shot.rgb)
    assert photo.affordance == staged.affordance
    masks = Photographer(world, sweep).segmenter.segment(shot).instance_map()
    assert photo.masks is not None
    assert masks.max() > 1
    assert np.mean(photo.masks == masks) > 0.999
    # Which is what synthesis asks for.
    (made,) = synthesise([photo], SynthesisConfig(count=1), seed=0)
    assert made.provenance.parent == photo.id


def test_when_recordings_are_cut_or_no_recordings_expect_the_rest_and_one_warning_each(
    tmp_path: Path,
) -> None:
    folder, out = tmp_path / "bags", tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    write_bag(folder / "a.mcap", episode())
    write_bag(
        folder / "deeper" / "cut.mcap", [instruct("pour", 9.0), *frame(70), label(70, 71.0)], close=False
    )
    (folder / "junk.mcap").write_bytes(b"no recording")
    command = [sys.executable, "-m", "kalie.cli.main", "ros", "dataset", f"bag={folder}", f"out={out}"]
    environment = os.environ | {"COLUMNS": "200"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    told = " ".join((ran.stdout + ran.stderr).split())
    assert told.count("cut.mcap is cut off or damaged; lost: what came after its last flush") == 1
    assert told.count("junk.mcap: not an MCAP file") == 1
    assert "2 photos of 2 labels" in told
    assert "2 images without masks: no transform connects" in told
    photos = AffordanceDataset.load(out)
    assert sorted(photo.instruction for photo in photos) == ["pour", "sweep"]
    assert all(math.isclose(photo.affordance.grasp_yaw or 0, 0.5) for photo in photos)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert again.returncode == 1
    assert "holds a data set already" in again.stderr
