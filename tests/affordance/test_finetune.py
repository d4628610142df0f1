from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from kalie.affordance.augment import AugmentConfig
from kalie.affordance.finetune import FinetuneConfig, ImageSource, finetune
from kalie.affordance.heatmap import HeatmapConfig, HeatmapKeypointModel
from kalie.affordance.metrics import predict_all, summarise
from kalie.affordance.tokenizer import make_vocabulary
from kalie.affordance.training import (
    NotFiniteLoss,
    TrainingConfig,
    learning_rate,
    start,
    step_generator,
    train,
)
from kalie.core.checkpoint import CheckpointStore

from .pictures import stick

SHORT = TrainingConfig(steps=6, batch_size=2, warmup=2, checkpoint_every=2, evaluate_every=3)


@pytest.fixture(scope="module")
def base() -> HeatmapKeypointModel:
    return small_model()


def small_model() -> HeatmapKeypointModel:
    torch.manual_seed(0)
    vocabulary = list(make_vocabulary(["hold the stick"]))
    sizes = {"image_size": 64, "hidden_size": 64, "widths": [16, 32], "layers": 1, "relate_layers": 1}
    return HeatmapKeypointModel(HeatmapConfig(vocabulary=vocabulary, **sizes)).eval()


def weights(model: HeatmapKeypointModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: HeatmapKeypointModel, second: HeatmapKeypointModel) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


SAMPLES = [stick(i, "photo") for i in range(4)] + [stick(10 + i, "synthetic") for i in range(12)]


def test_learns_to_find_the_ends_of_a_stick() -> None:
    samples = [stick(i) for i in range(100, 164)]
    training = TrainingConfig(steps=60, batch_size=4, warmup=5, average=0.8)
    base = HeatmapKeypointModel.load()
    tuned = finetune(base, samples, config=FinetuneConfig(training, augment=None))
    unseen = [stick(i) for i in range(30)]
    truths = [sample.affordance for sample in unseen]
    found = summarise(predict_all(tuned, unseen), truths)
    assert found.points["function"].median < 40
    assert found.points["grasp"].pck[0.1] > 0.6
    assert found.presence == 1.0


def test_the_start_model_stays_as_it_is_and_only_frozen_layers_stay_in_the_tuned_one(
    base: HeatmapKeypointModel,
) -> None:
    before = weights(base)
    tuned = finetune(base, SAMPLES, config=FinetuneConfig(SHORT))
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())
    changed = {name for name, tensor in tuned.state_dict().items() if not torch.equal(before[name], tensor)}
    trainable = {name for name, p in small_model().named_parameters() if p.requires_grad}
    still = {name for name in trainable - changed if not name.startswith("text.")}
    assert not still
    assert changed <= trainable


def test_a_tuned_model_can_be_tuned_again(base: HeatmapKeypointModel) -> None:
    once = finetune(base, SAMPLES, config=FinetuneConfig(SHORT))
    twice = finetune(once, SAMPLES, config=FinetuneConfig(SHORT))
    assert not same(once, twice)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(base: HeatmapKeypointModel) -> None:
    first, second = (finetune(base, SAMPLES, config=FinetuneConfig(SHORT)) for _ in range(2))
    other = finetune(base, SAMPLES, config=FinetuneConfig(replace(SHORT, seed=1)))
    assert same(first, second)
    assert not same(first, other)


def test_resume_is_bit_identical(base: HeatmapKeypointModel, tmp_path: Path) -> None:
    whole = finetune(base, SAMPLES, SAMPLES[:2], FinetuneConfig(SHORT))

    class Killed(Exception):
        pass

    def kill(step: int, _: int) -> None:
        if step == 5:  # one step after a checkpoint
            raise Killed

    store = CheckpointStore(tmp_path)
    with pytest.raises(Killed):
        finetune(base, SAMPLES, SAMPLES[:2], FinetuneConfig(SHORT), store, progress=kill)
    seen: list[int] = []
    resumed = finetune(
        base, SAMPLES, SAMPLES[:2], FinetuneConfig(SHORT), store, progress=lambda done, _: seen.append(done)
    )
    assert seen == [5, 6]
    assert same(whole, resumed)


KILLED = """
import os, signal
from kalie.core.checkpoint import CheckpointStore
from kalie.affordance.finetune import FinetuneConfig, finetune
from pathlib import Path
from tests.affordance.test_finetune import SAMPLES, SHORT, small_model
def stop(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
store = CheckpointStore(Path({folder!r}))
finetune(small_model(), SAMPLES, config=FinetuneConfig(SHORT), store=store, progress=stop)
"""


def test_when_the_process_is_killed_expect_the_same_weights_after_resuming(
    base: HeatmapKeypointModel, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(folder=str(tmp_path))],
        cwd=root,
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
    whole = finetune(base, SAMPLES, config=FinetuneConfig(SHORT))
    resumed = finetune(base, SAMPLES, config=FinetuneConfig(SHORT), store=CheckpointStore(tmp_path))
    assert same(whole, resumed)


def test_stops_when_validation_shows_no_progress_and_keeps_the_best(base: HeatmapKeypointModel) -> None:
    errors = iter([0.5, 0.3, 0.4, 0.6, 0.2])
    seen: list[HeatmapKeypointModel] = []

    def evaluate(model: HeatmapKeypointModel) -> float:
        seen.append(small_model())
        seen[-1].load_state_dict(model.state_dict())
        return next(errors)

    config = replace(SHORT, steps=50, evaluate_every=1, patience=2)
    state = start(base, config)
    best = train(state, ImageSource(SAMPLES, 64, AugmentConfig()), config, evaluate)
    assert state.step == 4
    assert same(best, seen[1])


def test_when_the_loss_is_not_finite_expect_an_error_that_names_the_step(base: HeatmapKeypointModel) -> None:
    source = ImageSource(SAMPLES, 64, AugmentConfig())

    def poisoned(count: int, generator: torch.Generator) -> object:
        batch = source(count, generator)
        return replace(batch, values=batch.values * float("nan"))

    with pytest.raises(NotFiniteLoss, match="step 0"):
        train(start(base, SHORT), poisoned, SHORT)  # pyright: ignore[reportArgumentType]


def test_when_there_is_nothing_to_learn_from_expect_refusal(base: HeatmapKeypointModel) -> None:
    with pytest.raises(ValueError, match="no labelled images"):
        finetune(base, [])


def test_every_image_is_drawn_as_often_as_any_other() -> None:
    source = ImageSource(SAMPLES, 64, None)
    drawn = source.draw(200 * len(SAMPLES), step_generator(0, 0))
    counts = [
        sum(torch.equal(image, other) for other in drawn.images) / 200 for image in source.batch.images[:3]
    ]
    assert counts == pytest.approx([1, 1, 1], abs=0.3)


def test_without_augmentation_images_come_as_they_are() -> None:
    source = ImageSource(SAMPLES[:1], 64, None)
    batch = source(2, step_generator(0, 0))
    assert torch.equal(batch.images[0], batch.images[1])
    assert batch.images.dtype == torch.uint8


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = TrainingConfig(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates.index(1.0) in (9, 10)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_every_step_and_process_draws_its_own_numbers() -> None:
    drawn = {
        float(torch.rand(1, generator=step_generator(seed, step, process)))
        for seed in range(3)
        for step in range(20)
        for process in range(2)
    }
    assert len(drawn) == 120
