"""Each filter can reject, says why, and lets a good draw pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage
from kalie.affordance.schema import Affordance, Keypoint
from kalie.core.chat import ChatConfig, ChatError, ask
from kalie.core.files import DamagedFileError
from kalie.synthesis.binding import Anchor
from kalie.synthesis.checks import (
    NoJudge,
    Rejected,
    check_apart,
    check_edges,
    check_judge,
    check_on_part,
    check_sides,
    check_surface,
    check_view,
)
from kalie.synthesis.describe import describe_with_chat
from kalie.synthesis.edges import soft_edges

from .chat_server import chat_server, says


def square(x: int, y: int, side: int = 10, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def test_when_a_keypoint_nears_the_border_expect_outside_view() -> None:
    label = Affordance(target=Keypoint(0.004, 0.5))
    with pytest.raises(Rejected, match="target") as refusal:
        check_view(label, [square(10, 10)], [False], 0.01)
    assert refusal.value.reason == "outside_view"


def test_when_an_object_is_cut_by_the_border_expect_outside_view() -> None:
    with pytest.raises(Rejected, match="outside_view"):
        check_view(Affordance(), [square(0, 10)], [False], 0.01)
    check_view(Affordance(), [square(0, 10)], [True], 0.01)  # it was cut on the photo already


def test_when_an_object_has_left_altogether_expect_outside_view() -> None:
    with pytest.raises(Rejected, match="outside_view"):
        check_view(Affordance(), [np.zeros((64, 64), np.bool_)], [False], 0.01)


def test_when_the_meant_object_changes_sides_expect_rejection() -> None:
    before = [square(10, 30), square(40, 30)]  # the left one is meant
    check_sides(before, [square(2, 20), square(50, 22)], [(0, 1)], 25.0)
    for places in ((50, 30), (38, 2)):  # right of the other, above it
        with pytest.raises(Rejected, match="side") as refusal:
            check_sides(before, [square(*places), square(40, 30)], [(0, 1)], 25.0)
        assert refusal.value.reason == "side"
    check_sides(before, [square(50, 30), square(40, 30)], [], 25.0)  # nothing to tell it from


def test_when_objects_meet_expect_overlap() -> None:
    check_apart([square(10, 10), square(30, 10)], 2)
    for x in (15, 21):  # overlapping, and one pixel apart
        with pytest.raises(Rejected, match="overlap"):
            check_apart([square(10, 10), square(x, 10)], 2)


def test_when_a_keypoint_left_its_object_expect_keypoint_off_part() -> None:
    before, after = Affordance(grasp=Keypoint(0.2, 0.2)), Affordance(grasp=Keypoint(0.6, 0.2))
    anchors = {"grasp": Anchor(0)}
    masks = ([square(10, 10)], [square(35, 10)])
    check_on_part(before, after, anchors, masks, 1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Rejected, match="grasp"):
        check_on_part(before, after, anchors, ([square(10, 10)], [square(10, 10)]), 1.5)  # pyright: ignore[reportArgumentType]


def test_when_an_object_slides_off_what_it_lies_on_expect_off_surface() -> None:
    surfaces = np.zeros((64, 64), np.intp)
    surfaces[:, 40:] = 1
    check_surface(surfaces, [square(10, 10)], [square(30, 10)], 0.05)
    with pytest.raises(Rejected, match="off_surface"):
        check_surface(surfaces, [square(10, 10)], [square(32, 10)], 0.05)
    check_surface(surfaces, [square(35, 10)], [square(35, 30)], 0.05)  # it hung over the edge before


def test_when_edges_vanish_expect_edges() -> None:
    rgb = np.full((64, 64, 3), 200, np.uint8)
    rgb[20:40, 20:40] = (20, 60, 90)
    wanted = soft_edges(rgb)
    check_edges(rgb, wanted, [square(20, 20, 20)], 0.9)
    with pytest.raises(Rejected, match="edges"):
        check_edges(np.full_like(rgb, 200), wanted, [square(20, 20, 20)], 0.3)


@pytest.mark.parametrize(("answer", "passes"), [("Yes.", True), ("No, two brushes", False), ("", False)])
def test_judge_keeps_only_what_is_answered_with_yes(
    photos: list[LabelledImage], answer: str, passes: bool
) -> None:
    with chat_server(says(answer)) as (config, asked):
        if passes:
            check_judge(photos[0], config)
        else:
            with pytest.raises(Rejected, match="judge"):
                check_judge(photos[0], config)
    assert b"data:image/png;base64," in asked[0]
    assert photos[0].instruction.encode() in asked[0]


def test_without_a_judge_nobody_is_asked(photos: list[LabelledImage]) -> None:
    check_judge(photos[0], NoJudge())


def test_chat_tries_again_after_a_server_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with chat_server((503, "busy"), says("fine")) as (config, asked):
        assert ask(config, "well?") == "fine"
    assert len(asked) == 2


@pytest.mark.parametrize("reply", [(500, "boom"), (404, "nothing"), (200, "<html>"), (200, "{}")])
def test_when_chat_fails_expect_error_naming_its_address(
    reply: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with chat_server(reply) as (config, _), pytest.raises(ChatError, match="chat/completions"):
        ask(config, "well?")


def test_when_nothing_listens_expect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(ChatError, match=r"127\.0\.0\.1:9"):
        ask(ChatConfig("http://127.0.0.1:9/v1", "tiny", attempts=1), "well?")


def test_when_chat_address_is_no_http_expect_error() -> None:
    with pytest.raises(ChatError, match="expected an http"):
        ask(ChatConfig("file:///etc", "tiny"), "well?")


def test_a_language_model_may_word_the_looks(photos: list[LabelledImage]) -> None:
    with chat_server(says("- a teal rubber brush\n\n- a striped wooden one")) as (config, _):
        looks = describe_with_chat(photos[:1], config, count=5)
    assert looks == {"photo0": ("a teal rubber brush", "a striped wooden one")}


def test_when_a_language_model_is_silent_expect_error_naming_the_image(
    photos: list[LabelledImage],
) -> None:
    with chat_server(says(" ")) as (config, _), pytest.raises(ChatError, match="photo0"):
        describe_with_chat([replace(photos[0])], config)


def test_descriptions_are_kept_one_by_one_and_not_asked_for_again(
    photos: list[LabelledImage], tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    with chat_server(says("a teal one"), (400, "gone"), says("a red one"), says("another")) as (
        config,
        asked,
    ):
        with pytest.raises(ChatError):
            describe_with_chat(photos[:2], config, folder=tmp_path)
        found = describe_with_chat(
            photos[:2], config, folder=tmp_path, progress=lambda *done: calls.append(done)
        )
        again = describe_with_chat(photos[:2], config, folder=tmp_path)
    assert found == again == {"photo0": ("a teal one",), "photo1": ("a red one",)}
    assert len(asked) == 3
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("kept", ["", "[", "[]", "[1]", '"a teal one"'])
def test_when_a_kept_description_is_damaged_expect_its_file(
    photos: list[LabelledImage], tmp_path: Path, kept: str
) -> None:
    (tmp_path / "photo0.json").write_text(kept)
    config = ChatConfig("http://127.0.0.1:9/v1", "tiny", attempts=1)
    with pytest.raises(DamagedFileError, match=r"photo0\.json"):
        describe_with_chat(photos[:1], config, folder=tmp_path)
