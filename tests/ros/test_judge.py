"""The affordance node's parts that know nothing of ROS: answers are checked, work is dropped, rates hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance, Keypoint
from kalie.affordance.shipped import BASE_WEIGHTS
from kalie_ros.annotate import annotated
from kalie_ros.frame_worker import FrameWorker, RateLimit
from kalie_ros.judge import Judge, NoAnswer, load_model

from .fake_camera import picture

SEEN = Affordance(grasp=Keypoint(0.5, 0.5), target=Keypoint(0.2, 0.2))
GOOD = Prediction(SEEN, {"grasp": 0.9, "target": 0.4})


class Answers:
    """A model that gives a fixed answer after the warm-up."""

    def __init__(self, answer: Prediction) -> None:
        self.answers = [GOOD, answer]

    def predict(self, images: Sequence[np.ndarray], instructions: Sequence[str]) -> list[Prediction]:
        return [self.answers.pop(0)]


def test_the_confidence_is_the_least_certain_keypoints() -> None:
    assert Judge(Answers(GOOD)).judge(picture(), "sweep", 0.4).confidence == 0.4


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (Prediction(None, error="not finite"), "not finite"),
        (Prediction(Affordance(), {}), "no keypoint"),
        (GOOD, "target: confidence 0.400 is below 0.5"),
        (Prediction(SEEN, {"grasp": 0.9}), "target: confidence 0.000"),
    ],
)
def test_when_an_answer_is_unusable_expect_the_reason(answer: Prediction, named: str) -> None:
    with pytest.raises(NoAnswer, match=named):
        Judge(Answers(answer)).judge(picture(), "sweep", 0.5)


def test_the_judge_answers_as_the_library_does() -> None:
    rgb, instruction = picture(), "sweep the trash off the table"
    judgement = Judge(load_model("", "cpu")).judge(rgb, instruction, 0.0)
    assert judgement.prediction == HeatmapKeypointModel.load().predict([rgb], [instruction])[0]


def _copy(folder: Path) -> Path:
    for source in BASE_WEIGHTS.iterdir():
        if source.name != "SHA256SUMS":
            (folder / source.name).write_bytes(source.read_bytes())
    return folder


def test_when_weights_are_missing_expect_the_file_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"config\.json"):
        load_model(str(tmp_path / "nowhere"), "cpu")


def test_when_weights_are_pickled_expect_refusal(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load_model(str(folder), "cpu")


def test_when_weights_are_not_finite_expect_refusal_at_the_start(tmp_path: Path) -> None:
    model = HeatmapKeypointModel.load()
    torch.nn.init.constant_(model.presence.bias, float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(NoAnswer, match="not finite"):
        Judge(load_model(str(tmp_path), "cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_when_there_is_no_gpu_expect_auto_to_fall_back_and_cuda_to_refuse() -> None:
    assert load_model("", "auto") is not None
    with pytest.raises(ValueError, match="device"):
        load_model("", "cuda")


@pytest.mark.parametrize("size", [(120, 160), (480, 640), (20, 1300)])
def test_an_annotated_picture_keeps_its_size_and_shows_the_keypoints(size: tuple[int, int]) -> None:
    rgb = np.full((*size, 3), 90, np.uint8)
    rgb.setflags(write=False)
    drawn = annotated(rgb[..., ::-1], Affordance(grasp=Keypoint(0.5, 0.5)))
    assert drawn.shape == rgb.shape
    red, green, blue = drawn[size[0] // 2, size[1] // 2].astype(int)
    assert red > 180
    assert green < 100
    assert blue < 110
    assert (drawn[0, 0] == 90).all()


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=300), st.sampled_from([1.0, 7.0, 15.0]))
def test_the_rate_limit_holds_on_average(gaps: list[float], rate: float) -> None:
    limit, now, passed = RateLimit(), 100.0, 0
    for gap in gaps:
        now += gap
        passed += limit.allows(now, rate)
    assert passed <= (now - 100.0) * rate + 2


def test_jitter_costs_no_frame_of_a_camera_at_the_limit() -> None:
    limit, rng = RateLimit(), np.random.default_rng(0)
    times = np.arange(300) / 15.0 + rng.uniform(-0.02, 0.02, 300)
    passed = sum(limit.allows(float(now), 15.0) for now in times)
    assert passed >= 295


def test_frames_that_come_while_one_is_judged_are_dropped() -> None:
    done: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(item: int) -> None:
        begun.set()
        go_on.wait(30)
        done.append(item)

    worker = FrameWorker(work)
    assert worker.offer(1, 1000.0)
    assert begun.wait(30)
    assert not worker.offer(2, 1000.0)
    go_on.set()
    deadline = time.monotonic() + 30
    while not worker.offer(3, 1000.0):
        assert time.monotonic() < deadline
    worker.close()
    assert not worker.offer(4, 1000.0)
    assert done in ([1], [1, 3])
