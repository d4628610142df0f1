"""The zero-shot baseline against a chat endpoint on this machine that says what the test wants."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kalie.affordance.metrics import summarise
from kalie.affordance.moka import (
    MokaConfig,
    MokaModel,
    find_in_photos,
    instance_masks,
    read_choice,
    read_objects,
)
from kalie.affordance.schema import Affordance, InvalidKeypoints
from kalie.affordance.units import to_pixel
from kalie.core import chat
from kalie.core.chat import ChatConfig, ChatError
from kalie.core.config import Schema
from kalie.perception.frame import RgbdFrame
from kalie.perception.marks import propose_marks
from kalie.perception.segmentation import InstanceMask, Segmentation
from kalie.perception.segmenters import GroundedSamConfig, SegmentAnythingConfig

from .chat_server import Server, says, serve

SIZE = 100
HELD = {"held": 1, "other": 2}
CHOICE = {
    "grasp": "P1",
    "function": "P2",
    "target": "Q1",
    "pre_contact": "a1",
    "post_contact": "e5",
    "pre_height": "same",
    "post_height": "above",
    "tilt": "down",
}


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Two rectangles and their instance map."""
    rgb, instances = np.full((SIZE, SIZE, 3), 90, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    for number, (top, left) in enumerate([(20, 20), (60, 60)], start=1):
        rgb[top : top + 20, left : left + 20] = 40 * number
        instances[top : top + 20, left : left + 20] = number
    return rgb, instances


RGB, INSTANCES = scene()
MARKS = propose_marks(instance_masks(INSTANCES, RGB))


def moka(server: Server, segment: Callable = lambda _: INSTANCES, **changes: object) -> MokaModel:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    config = MokaConfig(chat=ChatConfig(url, "tiny", timeout_s=5.0, attempts=1))
    return MokaModel(replace(config, **changes), segment)  # pyright: ignore[reportArgumentType]


def only(model: MokaModel) -> Affordance:
    (prediction,) = model.predict([RGB], ["sweep it"])
    assert prediction.affordance is not None, prediction.error
    return prediction.affordance


def test_chosen_marks_and_tiles_become_the_affordance() -> None:
    with serve(says(HELD), says(CHOICE)) as server:
        found = only(moka(server))
    assert found.grasp is not None
    assert found.function is not None
    assert found.target is not None
    assert found.pre_contact is not None
    assert found.post_contact is not None
    assert to_pixel(found.grasp, SIZE, SIZE) == pytest.approx(MARKS.point("P1"))
    assert to_pixel(found.function, SIZE, SIZE) == pytest.approx(MARKS.point("P2"))
    assert to_pixel(found.target, SIZE, SIZE) == pytest.approx(MARKS.point("Q1"))
    assert (found.pre_contact.x, found.pre_contact.y) == pytest.approx((0.1, 0.9))
    assert (found.post_contact.x, found.post_contact.y) == pytest.approx((0.9, 0.1))
    assert (found.pre_height, found.post_height) == (0.0, 0.1)
    assert found.tool_tilt == pytest.approx(np.radians(30))
    assert found.target_height is found.grasp_yaw is found.gripper_width is None


def test_nulls_and_a_free_target_are_left_as_chosen() -> None:
    nulls = {"function": None, "pre_contact": None, "pre_height": None, "target": "c3", "tilt": "level"}
    with serve(says(HELD), says({**CHOICE, **nulls})) as server:
        found = only(moka(server))
    assert found.function is found.pre_contact is found.pre_height is None
    assert found.target is not None
    assert (found.target.x, found.target.y, found.tool_tilt) == pytest.approx((0.5, 0.5, 0.0))


def test_the_endpoint_sees_the_marked_photo_and_the_task() -> None:
    with serve(says(HELD), says(CHOICE)) as server:
        only(moka(server))
    first, second = (request["messages"][0]["content"] for request in server.asked)
    assert all("sweep it" in part[0]["text"] for part in (first, second))
    assert "1 to 2" in first[0]["text"]
    assert "P1 to P6" in second[0]["text"]
    assert "Q1 to Q6" in second[0]["text"]
    shown = [base64.b64decode(part[1]["image_url"]["url"].partition(",")[2]) for part in (first, second)]
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in shown]
    assert all(picture is not None and min(picture.shape[:2]) >= 768 for picture in pictures)
    assert shown[0] != shown[1]


def test_the_held_object_is_the_one_that_was_named() -> None:
    with serve(says({"held": 2, "other": 1}), says(CHOICE)) as server:
        found = only(moka(server))
    assert found.grasp is not None
    column, row = np.round(to_pixel(found.grasp, SIZE, SIZE)).astype(int)
    assert INSTANCES[row, column] == 2


def test_a_single_object_is_not_asked_about() -> None:
    alone = np.where(INSTANCES == 1, 1, 0)
    with serve(says({**CHOICE, "target": "c3"})) as server:
        only(moka(server, lambda _: alone))
    assert len(server.asked) == 1
    assert "Blue" not in server.asked[0]["messages"][0]["content"][0]["text"]


def test_random_waypoints_stay_in_their_tile_and_repeat() -> None:
    with serve(says(HELD), says(CHOICE), says(HELD), says(CHOICE), says(HELD), says(CHOICE)) as server:
        model = moka(server, waypoint="uniform")
        first, again = only(model), only(model)
        other = only(moka(server, waypoint="uniform", seed=1))
    assert first == again
    assert first != other
    for found in (first, other):
        assert found.pre_contact is not None
        assert MARKS.grid.tile_of(to_pixel(found.pre_contact, SIZE, SIZE)) == "a1"


def test_when_nothing_is_segmented_expect_an_invalid_prediction_without_a_question() -> None:
    with serve(says(HELD)) as server:
        (prediction,) = moka(server, lambda _: np.zeros((SIZE, SIZE), int)).predict([RGB], ["sweep"])
    assert not prediction.valid
    assert "no object" in prediction.error
    assert server.asked == []


def test_a_refused_reply_is_asked_again_warmer() -> None:
    with serve(says("Sure!"), says(HELD), says({**CHOICE, "grasp": "P9"}), says(CHOICE)) as server:
        only(moka(server, temperature=0.5))
    assert [request["temperature"] for request in server.asked] == [0.0, 0.5, 0.0, 0.5]


GARBAGE = [
    "",
    "P1",
    "[]",
    '{"held": 1}',
    '{"held": 1, "other": 1}',
    '{"held": 0, "other": 2}',
    '{"held": 1.0, "other": 2}',
    '{"held": true, "other": 2}',
    '{"held": 1, "held": 2, "other": null}',
    '{"held": 1, "other": 2, "why": "it is a brush"}',
    '{"held": NaN, "other": 2}',
    "{" * 5000,
    "x" * 100_000,
    '{"held": ' + "9" * 6000 + ', "other": 2}',
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_when_replies_are_garbage_expect_an_invalid_prediction_that_is_counted(text: str) -> None:
    with serve(says(text), says(text), says(HELD), says(CHOICE)) as server:
        predictions = moka(server, attempts=2).predict([RGB, RGB], ["sweep", "sweep"])
    assert [prediction.valid for prediction in predictions] == [False, True]
    assert predictions[0].text == text
    assert "in 2 replies" in predictions[0].error
    assert len(predictions[0].error) < 500
    assert summarise(predictions, [Affordance(), Affordance()]).invalid == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"grasp": "Q1"},
        {"grasp": None},
        {"grasp": "a1"},
        {"function": "Q1"},
        {"target": None},
        {"target": "P7"},
        {"target": ["P1"]},
        {"pre_contact": "P1"},
        {"pre_contact": "f1"},
        {"post_contact": "a6"},
        {"post_contact": "A1"},
        {"pre_height": 0.1},
        {"post_height": "below"},
        {"tilt": None},
        {"tilt": {"by": 30}},
    ],
)
def test_when_a_choice_names_nothing_that_exists_expect_error_naming_the_key(change: dict) -> None:
    key = next(iter(change))
    with pytest.raises(InvalidKeypoints, match=f"^{key}:"):
        read_choice(json.dumps({**CHOICE, **change}), MARKS)


@pytest.mark.parametrize("key", CHOICE)
def test_when_a_key_is_missing_expect_error_naming_it(key: str) -> None:
    data = {name: value for name, value in CHOICE.items() if name != key}
    with pytest.raises(InvalidKeypoints, match=f"^{key}: missing"):
        read_choice(json.dumps(data), MARKS)


def test_objects_may_be_fenced_and_alone() -> None:
    assert read_objects('```json\n{"held": 2, "other": null}\n```', 3) == [2]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((500, b"boom", 0.0), "HTTP 500"),
        ((404, b"no such model", 0.0), "HTTP 404"),
        ((200, b"<html>", 0.0), "not a chat completion"),
        ((200, b'{"choices": []}', 0.0), "not a chat completion"),
        ((200, b'{"choices": [{"message": {"content": null}}]}', 0.0), "holds no text"),
        ((200, b"[" * 200_000, 0.0), "not a chat completion"),
        ((200, b" " * (chat.MAX_REPLY_BYTES + 1), 0.0), "longer than"),
        ((200, says(HELD), 1.0), "timed out"),
    ],
)
def test_when_the_endpoint_fails_expect_error_and_no_prediction(
    reply: tuple[int, bytes, float], reason: str
) -> None:
    with serve(reply) as server:
        model = moka(server)
        slow = replace(model.config.chat, timeout_s=0.2 if reply[2] else 5.0)
        with pytest.raises(ChatError, match=reason):
            MokaModel(replace(model.config, chat=slow), model.segment).predict([RGB], ["sweep"])


def test_a_server_error_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with serve((500, b"", 0.0), says(HELD), (503, b"", 0.0), says(CHOICE)) as server:
        model = moka(server)
        config = replace(model.config, chat=replace(model.config.chat, attempts=2))
        only(MokaModel(config, model.segment))
    assert len(server.asked) == 4


def test_when_the_instance_map_has_another_size_expect_error() -> None:
    with serve(says(HELD)) as server, pytest.raises(ValueError, match="instance map"):
        moka(server, lambda _: np.ones((5, 5), int)).predict([RGB], ["sweep"])


def test_photos_are_segmented_by_the_names_of_objects() -> None:
    class Named:
        def segment(self, frame: RgbdFrame, prompts: object = ()) -> Segmentation:
            assert [prompt.text for prompt in prompts] == ["brush", "tray"]  # pyright: ignore
            assert np.isnan(frame.depth).all()
            masks = instance_masks(INSTANCES, frame.rgb)
            return Segmentation(tuple(InstanceMask(mask, 0.9) for mask in masks), SIZE, SIZE)

    assert np.array_equal(find_in_photos(Named(), ["brush", "tray"])(RGB), INSTANCES)


def test_when_no_object_is_named_expect_error() -> None:
    with pytest.raises(ValueError, match=r"model\.objects: a value is required"):
        MokaModel.load(MokaConfig(), GroundedSamConfig())


def test_when_the_segmenter_reads_no_names_expect_its_key() -> None:
    with pytest.raises(ValueError, match=r"segmenter\.detector: a value is required"):
        MokaModel.load(MokaConfig(objects=("brush",)), SegmentAnythingConfig(Path("sam.pth")))


def test_the_config_composes() -> None:
    schema = Schema("moka_test", MokaConfig)
    config = schema.compose(["objects=[brush,tray]", "chat.url=http://127.0.0.1:9/v1", "waypoint=uniform"])
    assert config.objects == ("brush", "tray")
    assert config.chat.url == "http://127.0.0.1:9/v1"
