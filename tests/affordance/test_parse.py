"""Replies are parsed exactly or refused with the key at fault (fault table A1-A4)."""

import contextlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kalie
from kalie.affordance.parse import ReplyFormat, format_reply, parse_reply
from kalie.affordance.schema import KEYPOINT_NAMES, Affordance, InvalidKeypoints, Keypoint, json_schema
from kalie.core.one_object import MAX_CHARACTERS

GOOD = {name: [100 * i + 5, 999 - i] for i, name in enumerate(KEYPOINT_NAMES)}
FULL = json.dumps(GOOD)

units = st.floats(0, 1, exclude_max=True, allow_nan=False)
points = st.none() | st.builds(Keypoint, units, units)


def test_thousandths_parse_to_cell_centres() -> None:
    affordance = parse_reply(
        '{"grasp": [0, 999], "function": null, "target": [500, 1], "pre_contact": null, "post_contact": null}'
    )
    assert affordance.grasp == Keypoint(0.0005, 0.9995)
    assert affordance.function is None
    assert affordance.target == Keypoint(0.5005, 0.0015)


@given(
    st.builds(
        Affordance, grasp=points, function=points, target=points, pre_contact=points, post_contact=points
    )
)
def test_text_round_trip_is_exact_to_half_a_cell(affordance: Affordance) -> None:
    again = parse_reply(format_reply(affordance))
    assert {n for n, _ in again.keypoints()} == {n for n, _ in affordance.keypoints()}
    for (_, a), (_, b) in zip(affordance.keypoints(), again.keypoints(), strict=True):
        assert abs(a.x - b.x) <= 0.0005 + 1e-12
        assert abs(a.y - b.y) <= 0.0005 + 1e-12


@given(st.builds(Affordance, grasp=points, target=points, grasp_yaw=st.none() | st.floats(-1.5, 1.5)))
def test_json_round_trip_is_exact(affordance: Affordance) -> None:
    assert Affordance.from_json(json.loads(json.dumps(affordance.to_json()))) == affordance


def test_scalars_are_millimetres_and_degrees() -> None:
    reply = json.dumps({**GOOD, "target_height": -20, "grasp_yaw": 45, "gripper_width": 70})
    affordance = parse_reply(reply)
    assert affordance.target_height == pytest.approx(-0.02)
    assert affordance.grasp_yaw == pytest.approx(0.7853981633974483)
    assert affordance.gripper_width == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (json.dumps({k: v for k, v in GOOD.items() if k != "target"}), "target"),
        (json.dumps({**GOOD, "sixth": [1, 2]}), "sixth"),
        (FULL[:-1] + ', "grasp": [1, 2]}', "grasp"),
        (json.dumps({**GOOD, "function": [1, 2, 3]}), "function"),
        (json.dumps({**GOOD, "function": [[1, 2]]}), "function"),
        (json.dumps({**GOOD, "function": {"x": 1, "y": 2}}), "function"),
        (json.dumps({**GOOD, "pre_contact": ["1", 2]}), "pre_contact"),
        (json.dumps({**GOOD, "pre_contact": [True, 2]}), "pre_contact"),
        (json.dumps({**GOOD, "post_contact": [1000, 2]}), "post_contact"),
        (json.dumps({**GOOD, "post_contact": [-1, 2]}), "post_contact"),
        (json.dumps({**GOOD, "post_contact": [0.5, 2]}), "post_contact"),
        (json.dumps({**GOOD, "target_height": "low"}), "target_height"),
        (json.dumps({**GOOD, "target_height": 9999}), "target_height"),
        (FULL.replace("[5, 999]", "[NaN, 1]"), "NaN"),
        (FULL.replace("[5, 999]", "[Infinity, 1]"), "Infinity"),
        (FULL.replace("[5, 999]", "[1e999, 1]"), "grasp"),
        (FULL.replace("[5, 999]", "[5" + "0" * 5000 + ", 1]"), "reply"),
        (FULL.replace("5", "\uff15", 1), "reply"),
        (FULL.replace('"', "'"), "reply"),
        (FULL[:-10], "reply"),
        (FULL + " I am sure.", "reply"),
        (FULL + FULL, "reply"),
        ("", "reply"),
        ("[]", "object"),
        ("null", "object"),
        ("[" * 5000, "brackets"),
    ],
)  # fmt: skip
def test_when_reply_is_malformed_expect_refusal_naming_the_key(reply: str, named: str) -> None:
    with pytest.raises(InvalidKeypoints, match=named):
        parse_reply(reply)


def test_code_fence_is_the_only_wrapping_accepted() -> None:
    assert parse_reply(f"```json\n{FULL}\n```") == parse_reply(FULL)
    with pytest.raises(InvalidKeypoints):
        parse_reply(f"Sure:\n```json\n{FULL}\n```")


def test_units_and_order_are_declared_never_guessed() -> None:
    swapped = parse_reply(FULL, ReplyFormat(order="yx"))
    assert swapped.grasp == Keypoint(0.9995, 0.0055)
    with pytest.raises(InvalidKeypoints, match="grasp"):
        parse_reply(FULL, ReplyFormat(units="fraction"))
    pixels = parse_reply(
        json.dumps({**dict.fromkeys(KEYPOINT_NAMES), "grasp": [255, 0]}),
        ReplyFormat("pixels", "xy", 256, 128),
    )
    assert pixels.grasp == Keypoint(255.5 / 256, 0.5 / 128)
    with pytest.raises(InvalidKeypoints, match="grasp"):
        parse_reply(FULL.replace("[5, 999]", "[256, 1]"), ReplyFormat("pixels", "xy", 256, 128))
    with pytest.raises(ValueError, match="pixels"):
        ReplyFormat("pixels")


FORMATS = [
    ReplyFormat(units, order, 448, 448)
    for units in ("thousandths", "percent", "fraction", "pixels")
    for order in ("xy", "yx")
]


@given(st.builds(Affordance, grasp=points, target=points), st.sampled_from(FORMATS))
def test_what_is_written_in_a_format_is_read_in_it(affordance: Affordance, fmt: ReplyFormat) -> None:
    again = parse_reply(format_reply(affordance, fmt), fmt)
    cell = 1 / 448 if fmt.units == "pixels" else 0.001
    assert {name for name, _ in again.keypoints()} == {name for name, _ in affordance.keypoints()}
    for (_, a), (_, b) in zip(affordance.keypoints(), again.keypoints(), strict=True):
        assert abs(a.x - b.x) <= cell
        assert abs(a.y - b.y) <= cell


@pytest.mark.parametrize(
    ("fmt", "last", "past"),
    [
        (ReplyFormat("thousandths"), 999, 1000),
        (ReplyFormat("percent"), 99.999, 100),
        (ReplyFormat("fraction"), 0.999, 1),
        (ReplyFormat("pixels", "xy", 64, 48), 47, 64),
        (ReplyFormat("pixels", "yx", 48, 64), 47, 64),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_when_a_point_is_past_the_range_of_its_declared_units_expect_refusal_never_a_clamp(
    fmt: ReplyFormat, last: float, past: float, axis: int
) -> None:
    """A2, A4."""
    for value, fits in ((0, True), (last, True), (past, False), (-1, False), (past * 1000, False)):
        pair: list[float] = [0, 0]
        pair[axis] = value
        reply = json.dumps({**dict.fromkeys(KEYPOINT_NAMES), "target": pair})
        if fits:
            assert parse_reply(reply, fmt).target is not None
        else:
            with pytest.raises(InvalidKeypoints, match="target"):
                parse_reply(reply, fmt)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"grasp": [1.0, 0.5]}, "grasp.*outside the image"),
        ({"function": [0.5, -0.1]}, "function.*outside the image"),
        ({"target": [float("nan"), 0.5]}, "target.*finite"),
        ({"target": ["0.5", 0.5]}, "target.*finite"),
        ({"pre_contact": [0.5]}, "pre_contact"),
        ({"pre_contact": 0.5}, "pre_contact"),
        ({"post_contact": [True, 0.5]}, "post_contact"),
        ({"grasp_yaw": 9.0}, "grasp_yaw.*outside"),
        ({"gripper_width": "wide"}, "gripper_width"),
        ({"graps": [0.5, 0.5]}, "unknown key 'graps'"),
        ({"grasp": [10**400, 0.5]}, "grasp"),
        ({"gripper_width": 10**400}, "gripper_width"),
    ],
)
def test_when_a_label_is_malformed_expect_refusal_naming_the_key(data: dict[str, object], named: str) -> None:
    """A1, A4: what labels on disk go through."""
    with pytest.raises(InvalidKeypoints, match=named):
        Affordance.from_json(data)


def test_border_is_accepted_and_exactly_one_is_refused() -> None:
    assert Keypoint(0.0, 0.0) == Keypoint(0, 0)
    for bad in (1.0, -1e-9, float("nan"), float("inf")):
        with pytest.raises(InvalidKeypoints):
            Keypoint(bad, 0.5)


def test_when_replies_are_fuzzed_expect_refused_or_exact_never_another_error() -> None:
    rng = random.Random(0)
    alphabet = '{}[]",:0123456789.-+eE truefalsn\\u00"grasp' + "\uff11\u00a0\x00"
    outcomes = {"parsed": 0, "refused": 0}
    for _ in range(12_000):
        text = list(FULL)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(text))
            edit = rng.randrange(3)
            text[at : at + (edit > 0)] = rng.choice(alphabet) if edit < 2 else ""
        try:
            affordance = parse_reply("".join(text))
        except InvalidKeypoints:
            outcomes["refused"] += 1
        else:
            data = json.loads("".join(text))
            for name, point in affordance.keypoints():
                assert point == Keypoint((data[name][0] + 0.5) / 1000, (data[name][1] + 0.5) / 1000)
            outcomes["parsed"] += 1
    assert min(outcomes.values()) > 100


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(KEYPOINT_NAMES), x),
        max_leaves=8,
    )
)
def test_when_json_is_arbitrary_expect_refusal_or_affordance(value: object) -> None:
    # Any other exception fails the test; a dictionary with all five keys as null is the one valid case.
    with contextlib.suppress(InvalidKeypoints):
        assert parse_reply(json.dumps(value)) == Affordance()


@pytest.mark.parametrize("text", ["{" * 10**6, "a" * 10**6, '"' * 10**6, "```json\n" * 10**5])
def test_when_reply_is_huge_expect_refusal_without_reading_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3: a length limit bounds the time, whatever the text; `benchmarks/model_speed.py` measures it."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the text was read")

    monkeypatch.setattr(json, "loads", read)
    with pytest.raises(InvalidKeypoints, match=r"reply: \d+ characters, at most 20000"):
        parse_reply(text)


def test_when_reply_is_as_long_as_may_be_expect_it_read() -> None:
    padded = FULL + " " * (MAX_CHARACTERS - len(FULL))
    assert parse_reply(padded) == parse_reply(FULL)
    with pytest.raises(InvalidKeypoints, match="characters"):
        parse_reply(padded + " ")


def test_published_schema_file_is_the_code_s() -> None:
    published = Path(kalie.__file__).with_name("docs") / "affordance.schema.json"
    assert json.loads(published.read_text("utf-8")) == json_schema()


def test_published_schema_accepts_what_is_written() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Affordance().to_json())  # pyright: ignore[reportArgumentType]
