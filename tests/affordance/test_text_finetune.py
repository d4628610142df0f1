"""Fine-tuning the text model: what it learns, what stays frozen, how it resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kalie.affordance.augment import AugmentConfig
from kalie.affordance.encoding import encode
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.parse import ReplyFormat, format_reply, parse_reply
from kalie.affordance.schema import Affordance, Keypoint
from kalie.affordance.text import TextKeypointModel, TextModelConfig
from kalie.affordance.text_finetune import (
    LessonSource,
    TextFinetuneConfig,
    TextTrainingConfig,
    accumulate,
    finetune_text,
    lesson,
    mean_loss,
)
from kalie.affordance.training import NotFiniteLoss
from kalie.core.checkpoint import CheckpointStore

Tiny = Callable[[str], TextModelConfig]
CPU = torch.device("cpu")
torch.set_num_threads(1)


def plain(**training: float) -> TextFinetuneConfig:
    """Tuning on images as they are; "steps", "batch_size" and the like by name."""
    settings = {"batch_size": 4, "learning_rate": 1e-2, "warmup": 5, **training}
    return TextFinetuneConfig(TextTrainingConfig(**settings), augment=None)  # pyright: ignore[reportArgumentType]


def weights(model: TextKeypointModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.network.named_parameters()}


def assert_learns_exactly(config: TextModelConfig, samples: Sequence[LabelledImage]) -> None:
    model = TextKeypointModel.load(replace(config, attempts=1))
    tuned = finetune_text(model, samples, config=plain(steps=90)).merged()
    images, instructions = [s.rgb for s in samples], [s.instruction for s in samples]
    predictions = tuned.predict(images, instructions)
    assert [p.text for p in predictions] == [format_reply(s.affordance) for s in samples]
    assert all(0 < value <= 1 for p in predictions for value in p.confidence.values())


def test_learns_four_labelled_images_to_exact_replies(tiny_vlm: Tiny, samples: list[LabelledImage]) -> None:
    assert_learns_exactly(tiny_vlm("smolvlm"), samples)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl", "paligemma", "llava"])
def test_every_family_learns_four_labelled_images(
    tiny_vlm: Tiny, samples: list[LabelledImage], family: str
) -> None:
    assert_learns_exactly(tiny_vlm(family), samples)


@pytest.mark.parametrize("family", ["smolvlm", "qwen2_5_vl", "paligemma"])
def test_only_the_adapter_changes(tiny_vlm: Tiny, samples: list[LabelledImage], family: str) -> None:
    model = TextKeypointModel.load(tiny_vlm(family))
    before = {name.replace(".weight", ""): weight for name, weight in weights(model).items()}
    after = weights(finetune_text(model, samples, config=plain(steps=2)))
    frozen = {name: weight for name, weight in after.items() if "lora_" not in name}
    assert len(frozen) == len(before)
    for name, weight in frozen.items():
        plain_name = name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".weight", "")
        assert torch.equal(weight, before[plain_name]), name
    adapter = {name: bool(weight.abs().sum() > 0) for name, weight in after.items() if "lora_B" in name}
    assert all(adapter.values()), [name for name, moved in adapter.items() if not moved]


@pytest.mark.parametrize("family", ["smolvlm", "qwen2_5_vl", "paligemma"])
def test_gradient_accumulation_equals_the_large_batch(
    tiny_vlm: Tiny, samples: list[LabelledImage], family: str
) -> None:
    model = TextKeypointModel.load(tiny_vlm(family)).with_adapter(seed=0)
    # In float32 the order of sums alone moves gradients by more than is allowed below.
    model.network.double()
    model.encoder.dtype = torch.float64
    # Equal prompts: padding shifts positions, which rotary embeddings see with float32's precision.
    samples = [replace(item, instruction="sweep the crumbs") for item in samples]
    batch = encode(samples, model.config.image_size)
    lessons = [lesson(batch, row) for row in range(len(samples))]
    found: list[torch.Tensor] = []
    for micro_batch in (4, 1, 3):
        model.network.zero_grad(set_to_none=True)
        loss = accumulate(model.network, model.encoder, lessons, micro_batch, Accelerator(cpu=True))
        gradients = [w.grad.flatten() for w in model.network.parameters() if w.grad is not None]
        found.append(torch.cat(gradients))
        expected = mean_loss(model.network, model.encoder, samples, micro_batch, CPU)
        assert loss == pytest.approx(expected, rel=1e-5)
    for other in found[1:]:
        assert float((other - found[0]).norm() / found[0].norm()) <= 1e-6


def test_resume_is_bit_identical(tiny_vlm: Tiny, samples: list[LabelledImage], tmp_path: Path) -> None:
    config = TextFinetuneConfig(
        TextTrainingConfig(
            steps=4, batch_size=2, learning_rate=1e-2, warmup=1, evaluate_every=2, checkpoint_every=2
        )
    )
    figures: dict[int, Mapping[str, float]] = {}

    def load() -> TextKeypointModel:
        return TextKeypointModel.load(tiny_vlm("smolvlm"))

    def stop(step: int, _: Mapping[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    whole = finetune_text(load(), samples, samples[:1], config, log=figures.__setitem__)
    store = CheckpointStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        finetune_text(load(), samples, samples[:1], config, store=store, log=stop)
    again: dict[int, Mapping[str, float]] = {}
    resumed = finetune_text(load(), samples, samples[:1], config, store=store, log=again.__setitem__)
    assert sorted(again) == [3, 4]
    assert all(again[step] == figures[step] for step in again)
    expected = weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(resumed).items())


def test_checkpoints_hold_the_adapter_alone(
    tiny_vlm: Tiny, samples: list[LabelledImage], tmp_path: Path
) -> None:
    model = TextKeypointModel.load(tiny_vlm("smolvlm"))
    finetune_text(model, samples, config=plain(steps=1, checkpoint_every=1), store=CheckpointStore(tmp_path))
    newest = CheckpointStore(tmp_path).load_newest()
    assert newest is not None
    assert all("lora_" in name for name in newest.state["adapter"])
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt"))


def test_stops_without_progress_and_keeps_the_best_adapter(
    tiny_vlm: Tiny, samples: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, seen = iter([3.0, 2.0, 2.5, 2.6, 1.0]), []

    def scripted(network: torch.nn.Module, *_: object) -> float:
        seen.append([w.detach().clone() for w in network.parameters() if w.requires_grad])
        return next(losses)

    monkeypatch.setattr("kalie.affordance.text_finetune.mean_loss", scripted)
    config = plain(steps=10, batch_size=1, evaluate_every=1, patience=2, warmup=0)
    model = TextKeypointModel.load(tiny_vlm("smolvlm"))
    tuned = finetune_text(model, samples[:2], samples[2:], config)
    assert len(seen) == 4
    kept = [weight for weight in tuned.network.parameters() if weight.requires_grad]
    assert all(torch.equal(weight, best) for weight, best in zip(kept, seen[1], strict=True))
    assert not all(torch.equal(weight, last) for weight, last in zip(kept, seen[3], strict=True))


def test_when_the_loss_is_not_finite_expect_error_naming_the_step(
    tiny_vlm: Tiny, samples: list[LabelledImage]
) -> None:
    model = TextKeypointModel.load(tiny_vlm("smolvlm"))
    with torch.no_grad():
        model.network.lm_head.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteLoss, match="step 0"):
        finetune_text(model, samples, config=plain(steps=2))


def test_when_there_is_nothing_to_learn_from_expect_error(tiny_vlm: Tiny) -> None:
    with pytest.raises(ValueError, match="no labelled images"):
        finetune_text(TextKeypointModel.load(tiny_vlm("smolvlm")), [])


def spotted(x: float, y: float) -> LabelledImage:
    """A grey image with a red spot at the grasp point."""
    rgb = np.full((96, 96, 3), 120, np.uint8)
    rgb[int(y * 96) - 3 : int(y * 96) + 4, int(x * 96) - 3 : int(x * 96) + 4] = (255, 0, 0)
    centre = Keypoint((int(x * 96) + 0.5) / 96, (int(y * 96) + 0.5) / 96)
    return LabelledImage("spot", rgb, "take it", Affordance(grasp=centre), Provenance("photo", "spot"))


QUIET = AugmentConfig(
    exposure=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    light=0,
    noise=0,
    blur=0,
    occluders=0,
    shadows=0,
    shift=0.2,
)


def test_augmented_answers_stay_on_the_spot_they_name() -> None:
    source = LessonSource([spotted(0.4, 0.6)], 96, TextFinetuneConfig(augment=QUIET))
    lessons = source(64, torch.Generator().manual_seed(0))
    assert len({lesson.answer for lesson in lessons}) > 32
    for item in lessons:
        grasp = parse_reply(item.answer).grasp
        assert grasp is not None
        red = item.rgb[..., 0].astype(float) - item.rgb[..., 1]
        rows, columns = np.nonzero(red > 128)
        spot = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / item.rgb.shape[0]
        assert np.abs(spot - [grasp.x, grasp.y]).max() < 0.02


def test_answers_are_taught_in_the_declared_units_and_order() -> None:
    """A2."""
    fmt = ReplyFormat("pixels", "yx", 448, 448)
    plainly = TextFinetuneConfig(augment=None)
    (item,) = LessonSource([spotted(0.25, 0.5)], 96, plainly, fmt)(1, torch.Generator().manual_seed(0))
    assert item.answer.startswith('{"grasp": [226, 114], ')


def test_when_augmentation_loses_a_point_expect_the_image_as_it_was() -> None:
    sample = spotted(0.05, 0.05)
    source = LessonSource([sample], 96, TextFinetuneConfig(augment=replace(QUIET, shift=0.4)))
    lessons = source(64, torch.Generator().manual_seed(0))
    answers = [item.answer for item in lessons]
    assert answers.count(format_reply(sample.affordance)) > 8
    assert len(set(answers)) > 8
    assert all(parse_reply(answer).grasp is not None for answer in answers)


def test_half_precision_weights_train_and_answer(tiny_vlm: Tiny, samples: list[LabelledImage]) -> None:
    model = TextKeypointModel.load(
        replace(tiny_vlm("smolvlm"), dtype="bfloat16", max_new_tokens=4, attempts=1)
    )
    tuned = finetune_text(model, samples, samples, plain(steps=1, batch_size=1))
    assert {weight.dtype for weight in tuned.network.parameters()} == {torch.bfloat16, torch.float32}
    (prediction,) = tuned.merged().predict([samples[0].rgb], [samples[0].instruction])
    assert not prediction.valid
