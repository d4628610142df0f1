"""Messages to kalie's types and back: exact where valid, else a ValueError that names the field."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("kalie_ros")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, Vector3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kalie.affordance.schema import KEYPOINT_NAMES, SCALAR_NAMES, SCALAR_RANGES, Affordance, Keypoint
from kalie.perception.frame import Intrinsics
from kalie_interfaces.msg import Affordance as AffordanceMsg
from kalie_interfaces.msg import Keypoint as KeypointMsg
from kalie_ros import frames
from kalie_ros.conversions import (
    affordance_from_msg,
    affordance_to_msg,
    camera_info,
    checked_instruction,
    depth_to_image,
    duration,
    image_to_depth,
    image_to_rgb,
    intrinsics_of,
    matrix_from_transform,
    rgb_to_image,
    seconds,
    stamped,
    transform_from_matrix,
)
from kalie_ros.frames import FrameTree, StaleTransform, UnknownFrame

# Times are no promise of these tests.
steady = settings(deadline=None)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
fractions = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
points = st.none() | st.builds(Keypoint, fractions, fractions)
poses = st.builds(
    lambda turn, shift: _pose(turn, shift),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-10, 10)] * 3),
)


def _pose(turn: tuple[float, ...], shift: tuple[float, ...]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    return pose


def _message(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """An image as a driver that pads its rows would send it."""
    height, width = pixels.shape[:2]
    kind = pixels.dtype.newbyteorder(">" if big_endian else "<")
    rows = np.ascontiguousarray(pixels.astype(kind)).reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, [(0, 0), (0, padding)], constant_values=7)
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big_endian))
    message.step = rows.shape[1]
    message.data = rows.tobytes()
    return message


@steady
@given(sizes.flatmap(lambda size: arrays(np.uint8, (*size, 3))), st.integers(0, 5))
def test_pictures_of_every_encoding_read_alike(rgb: np.ndarray, padding: int) -> None:
    alpha = np.full((*rgb.shape[:2], 1), 9, np.uint8)
    bgr = rgb[..., ::-1]
    for encoding, pixels in (
        ("rgb8", rgb),
        ("bgr8", bgr),
        ("rgba8", np.concatenate([rgb, alpha], axis=2)),
        ("bgra8", np.concatenate([bgr, alpha], axis=2)),
    ):
        assert np.array_equal(image_to_rgb(_message(pixels, encoding, padding)), rgb), encoding


@steady
@given(sizes.flatmap(lambda size: arrays(np.uint8, (*size, 3))))
def test_pictures_survive_the_round_trip(rgb: np.ndarray) -> None:
    message = rgb_to_image(rgb, Header(frame_id="camera"))
    assert (message.encoding, message.step, message.header.frame_id) == ("rgb8", 3 * rgb.shape[1], "camera")
    assert np.array_equal(image_to_rgb(message), rgb)


def test_a_picture_is_read_without_a_copy() -> None:
    message = rgb_to_image(np.zeros((4, 5, 3), np.uint8), Header())
    message.data[0] = 200
    rgb = image_to_rgb(message)
    message.data[0] = 201
    assert rgb[0, 0, 0] == 201


@steady
@given(
    sizes.flatmap(lambda size: arrays(np.float32, size, elements=st.floats(width=32))),
    st.integers(0, 5),
    st.booleans(),
)
def test_depth_in_metres_is_positive_and_finite_or_nan(
    metres: np.ndarray, padding: int, big_endian: bool
) -> None:
    depth = image_to_depth(_message(metres, "32FC1", padding, big_endian))
    with np.errstate(invalid="ignore"):
        valid = (metres > 0) & np.isfinite(metres)
    assert depth.dtype == np.float32
    assert depth.dtype.isnative
    assert np.array_equal(depth[valid], metres[valid])
    assert np.isnan(depth[~valid]).all()


def test_reading_depth_leaves_the_message_as_it_was() -> None:
    message = depth_to_image(np.array([[-1.0, np.inf, 0.5]], np.float32), Header())
    before = bytes(message.data)
    image_to_depth(message)
    assert bytes(message.data) == before


@steady
@given(
    sizes.flatmap(lambda size: arrays(np.uint16, size)), st.sampled_from(["16UC1", "mono16"]), st.booleans()
)
def test_depth_in_millimetres_reads_as_metres(raw: np.ndarray, encoding: str, big_endian: bool) -> None:
    depth = image_to_depth(_message(raw, encoding, 2, big_endian))
    assert depth.dtype == np.float32
    assert np.allclose(depth[raw > 0], raw[raw > 0] / 1000.0, rtol=1e-6)
    assert np.isnan(depth[raw == 0]).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoding": "jpeg"}, "encoding 'jpeg'"),
        ({"encoding": "x" * 10_000}, "encoding 'xxx"),
        ({"encoding": "32FC1"}, "encoding '32FC1'"),
        ({"height": 0}, "4x0 pixels"),
        ({"width": 2**31, "height": 2**31}, "pixels"),
        ({"step": 11}, "step 11"),
        ({"step": 2**32 - 1}, "step"),
        ({"height": 4}, "36 bytes"),
        ({"data": b""}, "0 bytes"),
        ({"data": bytes(35)}, "35 bytes"),
    ],
)
def test_when_a_picture_is_malformed_expect_the_reason(change: dict, named: str) -> None:
    message = _message(np.zeros((3, 4, 3), np.uint8), "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match="image") as refused:
        image_to_rgb(message)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("change", [{"encoding": "rgb8"}, {"data": bytes(47)}, {"step": 15}, {"width": 0}])
def test_when_depth_is_malformed_expect_its_name(change: dict) -> None:
    message = _message(np.ones((3, 4), np.float32), "32FC1")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=r"^depth: "):
        image_to_depth(message)


@steady
@given(
    st.builds(
        Intrinsics,
        *[st.integers(1, 4000)] * 2,
        *[st.floats(1, 5000)] * 2,
        *[st.floats(-100, 5000)] * 2,
        st.sampled_from([(), (0.1, -0.2, 0.001, 0.002), (0.1, -0.2, 0.001, 0.002, 0.03), (0.1,) * 8]),
    )
)
def test_intrinsics_survive_the_round_trip(intrinsics: Intrinsics) -> None:
    message = camera_info(intrinsics, Header())
    again = intrinsics_of(message)
    assert np.array_equal(again.matrix, intrinsics.matrix)
    assert (again.width, again.height) == (intrinsics.width, intrinsics.height)
    assert again.distortion[: len(intrinsics.distortion)] == intrinsics.distortion
    assert not any(again.distortion[len(intrinsics.distortion) :])
    assert len(message.d) in (5, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"distortion_model": "equidistant"},
        {"d": [0.1, math.nan, 0.0, 0.0, 0.0]},
        {"d": [0.1, 0.2, 0.3]},
        {"k": [0.0] * 9},
        {"k": [math.nan] * 9},
        {"width": 0},
    ],
)
def test_when_camera_info_is_unusable_expect_refusal(change: dict) -> None:
    message = camera_info(Intrinsics(4, 3, 5.0, 5.0, 2.0, 1.5), Header())
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=r"camera_info|intrinsics"):
        intrinsics_of(message)


def test_when_a_camera_is_not_calibrated_expect_refusal() -> None:
    with pytest.raises(ValueError, match="fx"):
        intrinsics_of(CameraInfo(width=4, height=3))


@st.composite
def affordances(draw: st.DrawFn) -> Affordance:
    scalars = {name: draw(st.none() | st.floats(*SCALAR_RANGES[name])) for name in SCALAR_NAMES}
    return Affordance(**{name: draw(points) for name in KEYPOINT_NAMES}, **scalars)


@steady
@given(affordances(), fractions)
def test_affordances_survive_the_round_trip(affordance: Affordance, confidence: float) -> None:
    known = {name: confidence for name, _ in affordance.keypoints()}
    again = affordance_from_msg(affordance_to_msg(affordance, Header(), known))
    assert again.affordance == affordance
    assert again.confidence == known


@pytest.mark.parametrize(
    ("points", "scalars", "named"),
    [
        ([("tip", 0.1, 0.1, 0.5)], {}, "tip"),
        ([("grasp", 0.1, 0.1, 0.5), ("grasp", 0.2, 0.1, 0.5)], {}, "twice"),
        ([("grasp", 1.0, 0.1, 0.5)], {}, "grasp"),
        ([("grasp", math.nan, 0.1, 0.5)], {}, "grasp"),
        ([("grasp", 0.1, math.inf, 0.5)], {}, "grasp"),
        ([("grasp", 0.1, 0.1, math.nan)], {}, "confidence"),
        ([("grasp", 0.1, 0.1, 1.5)], {}, "confidence"),
        ([("grasp", 0.1, 0.1, 0.5)], {"gripper_width": 0.5}, "gripper_width"),
        ([("grasp", 0.1, 0.1, 0.5)], {"tool_tilt": -math.inf}, "tool_tilt"),
    ],
)
def test_when_an_affordance_is_malformed_expect_the_key(points: list, scalars: dict, named: str) -> None:
    message = AffordanceMsg(
        keypoints=[KeypointMsg(name=n, x=x, y=y, confidence=c) for n, x, y, c in points], **scalars
    )
    with pytest.raises(ValueError, match=named):
        affordance_from_msg(message)


@steady
@given(poses)
def test_transforms_survive_the_round_trip(pose: np.ndarray) -> None:
    assert np.allclose(matrix_from_transform(transform_from_matrix(pose)), pose, atol=1e-9)


@pytest.mark.parametrize(
    ("quaternion", "x"),
    [((0.0, 0.0, 0.0, 0.0), 0.0), ((0.0, 0.0, 0.0, 1.1), 0.0), ((0.0, 0.0, 0.0, math.nan), 0.0),
     ((0.0, 0.0, 0.0, 1.0), math.inf)],
)  # fmt: skip
def test_when_a_transform_is_not_rigid_expect_refusal(quaternion: tuple, x: float) -> None:
    qx, qy, qz, qw = quaternion
    message = Transform(translation=Vector3(x=x), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    with pytest.raises(ValueError, match="transform"):
        matrix_from_transform(message)


@steady
@given(st.floats(-1e6, 1e6))
def test_durations_are_exact_to_the_nanosecond(value: float) -> None:
    message = duration(value)
    assert 0 <= message.nanosec < 1_000_000_000
    assert abs(seconds(message) - value) <= 1.5e-9 + abs(value) * 1e-15


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e10, -1e10])
def test_when_a_duration_cannot_be_sent_expect_refusal(value: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(value)


@steady
@given(st.text(max_size=40))
def test_instructions_that_pass_are_short_and_free_of_control_characters(text: str) -> None:
    try:
        checked = checked_instruction(text)
    except ValueError as error:
        assert str(error).startswith("instruction: ")  # noqa: PT017 - both outcomes are right
    else:
        assert checked == text.strip()
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in checked)


@pytest.mark.parametrize(
    ("text", "named"),
    [("", "empty"), (" \n\t ", "empty"), ("a" * 10_240, "10,240 characters"), ("wipe\x07 it", "U+0007"),
     ("wipe\nit", "U+000A"), ("wipe \x1b[2J", "U+001B"), ("wipe \u202eti", "U+202E")],
)  # fmt: skip
def test_when_an_instruction_is_malformed_expect_the_reason(text: str, named: str) -> None:
    with pytest.raises(ValueError, match="instruction") as refused:
        checked_instruction(text)
    assert named in str(refused.value)


def test_words_of_other_languages_are_instructions() -> None:
    text = "Fegen Sie den Müll weg, 把垃圾扫掉"
    assert checked_instruction(f" {text} ") == text


@steady
@given(poses, poses, poses)
def test_frames_chain_over_their_common_root(root_a: np.ndarray, a_b: np.ndarray, root_c: np.ndarray) -> None:
    tree = FrameTree()
    links = [("root", "a", root_a), ("a", "b", a_b), ("root", "c", root_c)]
    tree.add(TFMessage(transforms=[stamped(parent, child, pose, Header()) for parent, child, pose in links]))
    expected = np.linalg.inv(root_c) @ root_a @ a_b
    assert np.allclose(tree.lookup("c", "b"), expected, atol=1e-6)
    assert np.allclose(tree.lookup("b", "c") @ tree.lookup("c", "b"), np.eye(4), atol=1e-6)
    assert np.array_equal(tree.lookup("b", "b"), np.eye(4))


def test_the_newest_transform_counts() -> None:
    tree = FrameTree()
    for x in (1.0, 2.0):
        tree.add(TFMessage(transforms=[stamped("root", "a", _pose((0, 0, 0), (x, 0, 0)), Header())]))
    assert tree.lookup("root", "a")[0, 3] == 2.0


def test_only_moving_frames_between_the_two_must_be_of_the_instant() -> None:
    tree = FrameTree()
    for child, sec in (("base", 1), ("hand", 7)):
        header = Header(stamp=Time(sec=sec))
        parent = "map" if child == "base" else "base"
        tree.add(TFMessage(transforms=[stamped(parent, child, np.eye(4), header)]))
    tree.add_fixed(TFMessage(transforms=[stamped("hand", "camera", np.eye(4), Header())]))
    # Where the base stands on the map is as old as it may be: it does not matter to the hand.
    tree.lookup("base", "camera", at=7.5, max_age=0.5)
    for a, b in (("base", "camera"), ("hand", "base"), ("map", "base")):
        with pytest.raises(StaleTransform, match=f"from '{b}' to '{a}'.*older"):
            tree.lookup(a, b, at=7.6, max_age=0.5)
    tree.lookup("hand", "camera", at=7.6, max_age=0.5)


def test_when_frames_are_not_connected_expect_their_names() -> None:
    tree = FrameTree()
    tree.add(TFMessage(transforms=[stamped("root", "a", np.eye(4), Header())]))
    with pytest.raises(UnknownFrame, match="'b'"):
        tree.lookup("root", "b")


def test_when_frames_form_a_ring_expect_an_answer() -> None:
    tree = FrameTree()
    tree.add(TFMessage(transforms=[stamped(a, b, np.eye(4), Header()) for a, b in ("ab", "bc", "ca")]))
    assert np.array_equal(tree.lookup("a", "c"), np.eye(4))
    with pytest.raises(UnknownFrame):
        tree.lookup("a", "elsewhere")


def test_when_a_transform_in_a_message_is_not_rigid_expect_the_old_one_kept() -> None:
    tree, bad = FrameTree(), stamped("root", "a", np.eye(4), Header())
    tree.add(TFMessage(transforms=[stamped("root", "a", np.eye(4), Header())]))
    bad.transform.rotation.w = math.nan
    with pytest.raises(ValueError, match="transform"):
        tree.add(TFMessage(transforms=[bad]))
    assert np.array_equal(tree.lookup("root", "a"), np.eye(4))


def test_when_someone_floods_tf_with_names_expect_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_FRAMES", 2)
    tree = FrameTree()
    tree.add(TFMessage(transforms=[stamped("root", name, np.eye(4), Header()) for name in "ab"]))
    with pytest.raises(ValueError, match="frames"):
        tree.add(TFMessage(transforms=[stamped("root", "c", np.eye(4), Header())]))
    tree.add(TFMessage(transforms=[stamped("root", "a", np.eye(4), Header())]))
