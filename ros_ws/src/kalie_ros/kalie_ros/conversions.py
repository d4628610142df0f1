"""Between ROS messages and kalie's own types; every fault is a ValueError that names the field."""

from __future__ import annotations

import array
import math
import unicodedata
from collections.abc import Mapping
from typing import Literal

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Transform, TransformStamped
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from kalie.affordance.model import Prediction
from kalie.affordance.schema import KEYPOINT_NAMES, SCALAR_NAMES, Affordance, KeypointName
from kalie.perception.frame import DepthArray, FloatArray, ImageArray, Intrinsics
from kalie_interfaces.msg import Affordance as AffordanceMsg
from kalie_interfaces.msg import Keypoint as KeypointMsg

# What an instruction may not hold: control and format characters, line and paragraph ends.
_FORBIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
LONGEST_INSTRUCTION = 1000
# Bytes a pixel, and whether the order is blue first.
_COLOUR = {"rgb8": (3, False), "bgr8": (3, True), "rgba8": (4, False), "bgra8": (4, True)}
# Metres as floats, millimetres as integers.
_DEPTH = {"32FC1": np.dtype(np.float32), "16UC1": np.dtype(np.uint16), "mono16": np.dtype(np.uint16)}
DepthEncoding = Literal["32FC1", "16UC1"]
MOST_PIXELS = 16_000_000
_LONGEST_SECONDS = 2**31


def checked_instruction(text: str) -> str:
    """An instruction without surrounding blanks: 1 to 1,000 characters, none of them control characters."""
    stripped = text.strip()
    if not stripped:
        raise ValueError("instruction: empty")
    if len(stripped) > LONGEST_INSTRUCTION:
        raise ValueError(
            f"instruction: {len(stripped):,} characters, at most {LONGEST_INSTRUCTION:,} are allowed"
        )
    for place, character in enumerate(stripped):
        if unicodedata.category(character) in _FORBIDDEN:
            raise ValueError(f"instruction: control character U+{ord(character):04X} at position {place}")
    return stripped


def image_to_rgb(message: Image) -> ImageArray:
    """An rgb8, bgr8, rgba8 or bgra8 image as uint8 (H, W, 3); a view of the message where it can be."""
    if message.encoding not in _COLOUR:
        raise ValueError(f"image: encoding {message.encoding[:40]!r} is not one of {', '.join(_COLOUR)}")
    channels, blue_first = _COLOUR[message.encoding]
    pixels = _rows(message, np.dtype(np.uint8), channels)
    return pixels[..., 2::-1] if blue_first else pixels[..., :3]


def image_to_depth(message: Image) -> DepthArray:
    """A 32FC1 (metres) or 16UC1 (millimetres, 0 = invalid) image as float32 (H, W) metres, NaN = invalid."""
    kind = _DEPTH.get(message.encoding)
    if kind is None:
        raise ValueError(f"depth: encoding {message.encoding[:40]!r} is not 32FC1 or 16UC1")
    metres = _rows(message, kind, 1, "depth")[..., 0].astype(np.float32)
    if kind.kind == "u":
        metres /= 1000
    with np.errstate(invalid="ignore"):
        metres[~((metres > 0) & (metres < np.inf))] = np.nan
    return metres


def _rows(message: Image, kind: np.dtype, channels: int, field: str = "image") -> np.ndarray:
    """The pixels (H, W, channels) of a message, whose rows may be padded."""
    height, width, step = message.height, message.width, message.step
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"{field}: {width}x{height} pixels, expected 1 to {MOST_PIXELS:,}")
    row = width * channels * kind.itemsize
    if step < row or len(message.data) != step * height:
        held = f"{len(message.data)} bytes with step {step}"
        raise ValueError(f"{field}: {held} are not {width}x{height} {message.encoding}")
    raw = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    order = kind.newbyteorder(">" if message.is_bigendian else "<")
    return np.ascontiguousarray(raw).view(order).reshape(height, width, channels)


def rgb_to_image(rgb: ImageArray, header: Header) -> Image:
    """A uint8 (H, W, 3) picture as rgb8."""
    return _image(np.ascontiguousarray(rgb), "rgb8", header)


def depth_to_image(depth: DepthArray, header: Header, encoding: DepthEncoding = "32FC1") -> Image:
    """A float32 (H, W) depth in metres, NaN = invalid, as metres (NaN) or whole millimetres (0 = invalid)."""
    if encoding == "32FC1":
        return _image(np.ascontiguousarray(depth, dtype=np.float32), encoding, header)
    millimetres = np.rint(np.nan_to_num(depth, nan=0.0) * 1000).clip(0, np.iinfo(np.uint16).max)
    return _image(millimetres.astype(np.uint16), encoding, header)


def _image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.strides[0]
    # An array goes in as it is; anything else would be taken up byte by byte.
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    message.data = data
    return message


def intrinsics_of(info: CameraInfo) -> Intrinsics:
    """The pinhole camera of a CameraInfo (distortion models plumb_bob and rational_polynomial)."""
    if info.distortion_model not in ("", "plumb_bob", "rational_polynomial"):
        raise ValueError(f"camera_info: distortion_model {info.distortion_model[:40]!r} is not supported")
    distortion = tuple(float(value) for value in info.d)
    if not all(map(math.isfinite, distortion)):
        raise ValueError("camera_info: d is not finite")
    fx, _, cx, _, fy, cy = map(float, info.k[:6])
    return Intrinsics(info.width, info.height, fx, fy, cx, cy, distortion if any(distortion) else ())


def camera_info(intrinsics: Intrinsics, header: Header) -> CameraInfo:
    """A CameraInfo of a pinhole camera."""
    i = intrinsics
    message = CameraInfo(header=header, width=i.width, height=i.height)
    message.distortion_model = "rational_polynomial" if len(i.distortion) == 8 else "plumb_bob"
    # plumb_bob has five numbers; OpenCV's four lack the last.
    message.d = [*i.distortion, *[0.0] * (5 - len(i.distortion))]
    message.k = [i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def affordance_to_msg(
    affordance: Affordance, header: Header, confidence: Mapping[KeypointName, float] | None = None
) -> AffordanceMsg:
    """An affordance as a message."""
    known = confidence or {}
    message = AffordanceMsg(header=header)
    message.keypoints = [
        KeypointMsg(name=name, x=point.x, y=point.y, confidence=float(known.get(name, 0.0)))
        for name, point in affordance.keypoints()
    ]
    for name in SCALAR_NAMES:
        value = getattr(affordance, name)
        setattr(message, name, math.nan if value is None else float(value))
    return message


def affordance_from_msg(message: AffordanceMsg) -> Prediction:
    """A message as a prediction: the affordance and each keypoint's confidence.

    Raises:
        InvalidKeypoints: naming the key that is unknown, double or out of range.
    """
    values: dict[str, object] = {}
    confidence: dict[KeypointName, float] = {}
    for point in message.keypoints:
        if point.name not in KEYPOINT_NAMES:
            raise ValueError(f"keypoints: unknown name {point.name[:40]!r}")
        if point.name in values:
            raise ValueError(f"keypoints: {point.name} stands there twice")
        if not 0 <= point.confidence <= 1:
            raise ValueError(f"keypoints: {point.name} has confidence {point.confidence}, expected [0, 1]")
        values[point.name] = [point.x, point.y]
        confidence[point.name] = point.confidence
    for name in SCALAR_NAMES:
        value = getattr(message, name)
        values[name] = None if math.isnan(value) else value
    return Prediction(Affordance.from_json(values), confidence)


def transform_from_matrix(a_from_b: FloatArray) -> Transform:
    """A rigid (4, 4) transform as a message."""
    message = Transform()
    message.translation.x, message.translation.y, message.translation.z = map(float, a_from_b[:3, 3])
    x, y, z, w = Rotation.from_matrix(a_from_b[:3, :3]).as_quat()
    message.rotation.x, message.rotation.y, message.rotation.z, message.rotation.w = map(float, (x, y, z, w))
    return message


def matrix_from_transform(transform: Transform) -> FloatArray:
    """A transform message as (4, 4).

    Raises:
        ValueError: it is not finite, or its quaternion is not of unit length.
    """
    t, r = transform.translation, transform.rotation
    quaternion, shift = np.array([r.x, r.y, r.z, r.w]), np.array([t.x, t.y, t.z])
    if not (np.isfinite(quaternion).all() and np.isfinite(shift).all()):
        raise ValueError("transform: not finite")
    if abs(float(np.linalg.norm(quaternion)) - 1) > 1e-3:
        raise ValueError(f"transform: the quaternion's length is {np.linalg.norm(quaternion):.4f}, not 1")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), shift
    return matrix


def stamped(a: str, b: str, a_from_b: FloatArray, header: Header) -> TransformStamped:
    """The transform that maps points in frame `b` to frame `a` (parent `a`, child `b`)."""
    # A header of its own: the caller's may be shared with images of another frame.
    own = Header(stamp=header.stamp, frame_id=a)
    return TransformStamped(header=own, child_frame_id=b, transform=transform_from_matrix(a_from_b))


def seconds(stamp: object) -> float:
    """A Time or Duration message in seconds."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9  # pyright: ignore[reportAttributeAccessIssue]


def duration(value: float) -> Duration:
    """Seconds as a message."""
    if not -_LONGEST_SECONDS <= value < _LONGEST_SECONDS:
        raise ValueError(f"duration: {value} s cannot be sent")
    whole = math.floor(value)
    return Duration(sec=whole, nanosec=min(round((value - whole) * 1e9), 999_999_999))
