"""The text model: prompts and labels, strict answers, retries; every supported family, tiny and random."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kalie.affordance.labels import LabelledImage
from kalie.affordance.metrics import summarise
from kalie.affordance.parse import format_reply
from kalie.affordance.schema import Affordance, Keypoint
from kalie.affordance.text import (
    Reply,
    TextKeypointModel,
    TextModelConfig,
    load_adapter,
    point_confidence,
    seeded,
)
from kalie.affordance.text_batch import (
    IGNORED,
    PromptEncoder,
    PromptError,
    TextBatch,
    answer_loss,
    batch_loss,
)
from kalie.core.config import ConfigError, Schema
from kalie.core.files import DamagedFileError

FAMILIES = ("idefics3", "smolvlm", "qwen2_5_vl", "paligemma", "llava")
Tiny = Callable[[str], TextModelConfig]
torch.set_num_threads(1)


@dataclass(frozen=True)
class Nothing:
    """The default of the group, so that the text model need not have one."""


@dataclass(frozen=True)
class Job:
    model: Nothing | TextModelConfig = field(default_factory=Nothing)


MODELS = Schema("text_model_test", Job, {"model": {"nothing": Nothing, "text": TextModelConfig}})


@pytest.fixture(scope="module")
def loaded(tiny_vlm: Tiny) -> Callable[[str], TextKeypointModel]:
    """A tiny model of a family, loaded once; tests that change one load their own."""
    models: dict[str, TextKeypointModel] = {}

    def get(family: str) -> TextKeypointModel:
        if family not in models:
            models[family] = TextKeypointModel.load(replace(tiny_vlm(family), max_new_tokens=12))
        return models[family]

    return get


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, loaded: Callable[[str], TextKeypointModel]) -> TextKeypointModel:
    return loaded(request.param)


def training_batch(model: TextKeypointModel, samples: Sequence[LabelledImage]) -> TextBatch:
    return model.encoder.training(
        [sample.rgb for sample in samples],
        [sample.instruction for sample in samples],
        [format_reply(sample.affordance) for sample in samples],
    )


def ask(model: TextKeypointModel, samples: Sequence[LabelledImage]) -> list[Any]:
    return model.predict([sample.rgb for sample in samples], [sample.instruction for sample in samples])


class Scripted(TextKeypointModel):
    """Replies what it is told to, in turn; counts how it was asked."""

    def __init__(self, base: TextKeypointModel, texts: Sequence[str], **changes: int | float) -> None:
        super().__init__(base.network, base.encoder, replace(base.config, **changes))
        self.texts, self.asked = list(texts), []

    def _ask(
        self, images: Sequence[Any], instructions: Sequence[str], **sampling: bool | float
    ) -> list[Reply]:
        self.asked.append((len(images), sampling))
        replies = [self.encoder.tokenizer(self.texts.pop(0)).input_ids for _ in images]
        return [Reply(ids, [0.0] * len(ids)) for ids in replies]


def test_only_answer_and_end_tokens_are_labelled(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    batch = training_batch(model, samples)
    tokens, tokenizer = batch.inputs["input_ids"], model.encoder.tokenizer
    prompt = model.encoder.prompts([s.rgb for s in samples], [s.instruction for s in samples])["input_ids"]
    assert (batch.labels[:, : prompt.shape[1]] == IGNORED).all()
    for row, item in enumerate(samples):
        labelled = batch.labels[row] != IGNORED
        answer = tokenizer(format_reply(item.affordance), add_special_tokens=False).input_ids
        assert batch.labels[row][labelled].tolist() == [*answer, tokenizer.eos_token_id]
        assert torch.equal(tokens[row][labelled], batch.labels[row][labelled])
        # Left padding, prompt, answer, right padding: one run of ones, with the labels at its end.
        seen = batch.inputs["attention_mask"][row].nonzero()[:, 0]
        assert seen.tolist() == list(range(int(seen[0]), int(seen[-1]) + 1))
        assert int(seen[-1]) == int(labelled.nonzero()[-1])


def test_what_training_shows_is_what_generation_continues(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    batch = training_batch(model, samples)
    prompts = model.encoder.prompts([s.rgb for s in samples], [s.instruction for s in samples])
    columns = prompts["input_ids"].shape[1]
    for name, tensor in prompts.items():
        shown = batch.inputs[name]
        assert torch.equal(
            shown[:, :columns] if tensor.shape == prompts["input_ids"].shape else shown, tensor
        )


def test_prompt_names_the_task_and_every_point(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    ids = model.encoder.prompts([samples[0].rgb], ["sweep the {crumbs}"])["input_ids"]
    text = model.encoder.tokenizer.decode(ids[0], skip_special_tokens=True)
    for word in ("sweep the {crumbs}", "grasp", "function", "target", "pre_contact", "post_contact", "999"):
        assert word in text


def test_declared_units_and_order_are_asked_for_and_read(
    loaded: Callable[[str], TextKeypointModel], samples: list[LabelledImage]
) -> None:
    """A2."""
    base = loaded("smolvlm")
    config = replace(base.config, units="pixels", order="yx", image_size=448)
    base = TextKeypointModel(
        base.network, PromptEncoder(base.encoder.processor, "chat", 448, reply=config.reply), config
    )
    ids = base.encoder.prompts([samples[0].rgb], ["sweep"])["input_ids"]
    text = base.encoder.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert "[y, x] in pixels of the picture: x from 0 (left) to 447" in text
    assert '"grasp": [y, x]' in text
    assert "thousandths" not in text
    null = ', "function": null, "target": null, "pre_contact": null, "post_contact": null}'
    replies = [f'{{"grasp": {point}{null}' for point in ("[0, 447]", "[448, 0]", "[0.5, 0.5]")]
    inside, outside, fraction = ask(Scripted(base, replies, attempts=1), samples[:1] * 3)
    assert inside.affordance.grasp == Keypoint(447.5 / 448, 0.5 / 448)
    assert "grasp: y: expected an integer 0..447" in outside.error
    assert "grasp" in fraction.error


def test_padding_does_not_change_the_loss(model: TextKeypointModel, samples: list[LabelledImage]) -> None:
    with torch.no_grad():
        together = float(batch_loss(model.network, training_batch(model, samples)))
        alone = sum(float(batch_loss(model.network, training_batch(model, [item]))) for item in samples)
    assert together == pytest.approx(alone, rel=1e-6)


def test_only_positions_before_answer_tokens_get_a_gradient(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    batch = training_batch(model, samples[:2])
    with torch.no_grad():
        logits = model.network(**batch.inputs).logits
    logits.requires_grad_(True)
    answer_loss(logits, batch.labels).backward()
    assert logits.grad is not None
    learnt = torch.zeros_like(batch.labels, dtype=torch.bool)
    learnt[:, :-1] = batch.labels[:, 1:] != IGNORED
    assert (logits.grad[~learnt] == 0).all()
    assert (logits.grad[learnt].abs().sum(dim=-1) > 0).all()


def test_loss_over_kept_columns_is_the_loss_over_all(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    batch = training_batch(model, samples)
    with torch.no_grad():
        whole = answer_loss(model.network(**batch.inputs).logits, batch.labels)
        kept = batch_loss(model.network, batch)
    assert float(kept) == pytest.approx(float(whole), rel=1e-6)


def test_batch_prediction_is_single_prediction(
    model: TextKeypointModel, samples: list[LabelledImage]
) -> None:
    together, alone = ask(model, samples), [ask(model, [item])[0] for item in samples]
    assert [p.text for p in together] == [p.text for p in alone]
    assert [p.error for p in together] == [p.error for p in alone]


def test_prediction_depends_on_the_image(loaded: Callable[[str], TextKeypointModel]) -> None:
    model = loaded("smolvlm")
    dark, light = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    with torch.no_grad():
        losses = [
            float(batch_loss(model.network, model.encoder.training([rgb], ["sweep"], ["{}"])))
            for rgb in (dark, light)
        ]
    assert losses[0] != losses[1]


def test_when_an_instruction_holds_control_tokens_expect_refusal(model: TextKeypointModel) -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    for token in {model.encoder.processor.image_token, model.encoder.tokenizer.eos_token}:
        with pytest.raises(PromptError, match="control token"):
            model.predict([rgb], [f"sweep {token} up"])


@pytest.mark.parametrize(
    "rgb", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)]
)
def test_when_an_image_is_malformed_expect_refusal(
    loaded: Callable[[str], TextKeypointModel], rgb: np.ndarray
) -> None:
    with pytest.raises(PromptError, match="expected uint8"):
        loaded("smolvlm").predict([rgb], ["sweep"])


def test_a_valid_reply_becomes_its_affordance(
    loaded: Callable[[str], TextKeypointModel], samples: list[LabelledImage]
) -> None:
    text = format_reply(samples[1].affordance)
    (prediction,) = ask(Scripted(loaded("smolvlm"), [text]), samples[1:2])
    assert prediction.affordance is not None
    assert format_reply(prediction.affordance) == text
    assert prediction.text == text
    assert prediction.confidence == dict.fromkeys(dict(prediction.affordance.keypoints()), 1.0)


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_when_no_reply_parses_expect_an_invalid_prediction_after_all_attempts(
    loaded: Callable[[str], TextKeypointModel], samples: list[LabelledImage], attempts: int
) -> None:
    model = Scripted(loaded("smolvlm"), ["{}"] * 9, attempts=attempts, temperature=0.4)
    (prediction,) = ask(model, samples[:1])
    assert not prediction.valid
    assert prediction.text == "{}"
    assert f"in {attempts} replies" in prediction.error
    assert "grasp" in prediction.error
    assert model.asked == [(1, {}), *[(1, {"do_sample": True, "temperature": 0.4})] * (attempts - 1)]


def test_only_what_did_not_parse_is_asked_again(
    loaded: Callable[[str], TextKeypointModel], samples: list[LabelledImage]
) -> None:
    good = format_reply(samples[0].affordance)
    model = Scripted(loaded("smolvlm"), [good, "no", good, "still no", good], attempts=3)
    predictions = ask(model, samples[:3])
    assert [count for count, _ in model.asked] == [3, 1, 1]
    assert all(prediction.valid for prediction in predictions)


def test_unparsable_answers_are_counted(
    loaded: Callable[[str], TextKeypointModel], samples: list[LabelledImage]
) -> None:
    replies = [format_reply(samples[0].affordance), "I think", "[1, 2]", format_reply(samples[3].affordance)]
    predictions = ask(Scripted(loaded("smolvlm"), replies, attempts=1), samples)
    assert summarise(predictions, [item.affordance for item in samples]).invalid == 0.5


def test_retries_are_reproducible_and_leave_the_global_generator_alone(
    tiny_vlm: Tiny, samples: list[LabelledImage]
) -> None:
    model = TextKeypointModel.load(
        replace(tiny_vlm("smolvlm"), max_new_tokens=8, attempts=2, temperature=5.0)
    )
    before = torch.get_rng_state()
    first, again = ask(model, samples), [ask(model, [item])[0] for item in samples]
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again
    with seeded(0, torch.device("cpu")):
        greedy = model._ask([samples[0].rgb], [samples[0].instruction])[0]
    assert first[0].text != model._text(greedy.ids)


def test_closing_axis_is_that_of_the_image_before_squeezing(
    loaded: Callable[[str], TextKeypointModel],
) -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    reply = format_reply(Affordance(grasp_yaw=math.radians(45)))
    (prediction,) = Scripted(loaded("smolvlm"), [reply]).predict([wide], ["sweep"])
    assert prediction.affordance is not None
    # The jaws' sides run along (1, -1) in the square, hence along (2, -1) in the image: normal to (1, 2).
    assert prediction.affordance.grasp_yaw == pytest.approx(math.atan2(2, 1), abs=1e-6)


def test_confidence_is_the_probability_of_the_points_own_tokens() -> None:
    text = '{"grasp": [12, 34], "target": [5, 6]}'
    ends = list(range(1, len(text) + 1))
    log_probs = [-0.25] * len(text)
    affordance = Affordance(grasp=Keypoint(0.0125, 0.0345), target=Keypoint(0.0055, 0.0065))
    found = point_confidence(affordance, text, ends, log_probs)
    assert found["grasp"] == pytest.approx(math.exp(-0.25 * len("[12, 34]")))
    assert found["target"] == pytest.approx(math.exp(-0.25 * len("[5, 6]")))


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_reaches_language_model_and_image_encoder(tiny_vlm: Tiny, family: str) -> None:
    model = TextKeypointModel.load(tiny_vlm(family))
    network = model.with_adapter(seed=0).network
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert all("lora_" in name for name in trained)
    for part in ("vis", "language_model" if family != "idefics3" and family != "smolvlm" else "text_model"):
        assert any(f".{part}" in name for name in trained), part
    assert not any("lm_head" in name or "embed" in name for name in trained)


def test_adapter_round_trip_is_safetensors_and_merging_keeps_the_answer(
    tiny_vlm: Tiny, samples: list[LabelledImage], tmp_path: Path
) -> None:
    config = replace(tiny_vlm("qwen2_5_vl"), max_new_tokens=16, attempts=1)
    tuned = TextKeypointModel.load(config).with_adapter(seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, weight in tuned.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=generator)
    folder = tmp_path / "adapter"
    tuned.save_adapter(folder)
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".md", ""}
    base = TextKeypointModel.load(config)
    loaded = TextKeypointModel.load(replace(config, adapter=folder))
    batch = training_batch(tuned, samples)
    with torch.no_grad():
        losses = [float(batch_loss(m.network, batch)) for m in (tuned, loaded, base)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert abs(losses[0] - losses[2]) > 1e-2
    assert [p.text for p in ask(tuned, samples)] == [p.text for p in ask(loaded, samples)]
    with pytest.raises(FileExistsError, match="new folder"):
        tuned.save_adapter(folder)
    with pytest.raises(TypeError, match="no adapter"):
        loaded.save_adapter(tmp_path / "other")
    with pytest.raises(ValueError, match="without one"):
        loaded.with_adapter(seed=0)


def test_when_an_adapter_was_tuned_for_other_answers_expect_the_key_named(
    tiny_vlm: Tiny, tmp_path: Path
) -> None:
    config = tiny_vlm("smolvlm")
    TextKeypointModel.load(config).with_adapter(seed=0).save_adapter(tmp_path / "adapter")
    asked = replace(config, adapter=tmp_path / "adapter", order="yx")
    with pytest.raises(ValueError, match=r"asked\.json: .*tuned with order=xy, but order=yx is set"):
        TextKeypointModel.load(asked)


def test_when_an_adapter_is_damaged_expect_the_file_named(tiny_vlm: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    tuned = TextKeypointModel.load(tiny_vlm("qwen2_5_vl")).with_adapter(seed=0)
    tuned.save_adapter(folder)
    file = folder / "adapter_model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match=r"adapter_model\.safetensors"):
        load_adapter(torch.nn.Linear(1, 1), folder)


def test_when_an_adapter_is_pickled_expect_refusal(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(torch.nn.Linear(1, 1), tmp_path)


def test_when_weights_are_pickled_expect_refusal(tiny_vlm: Tiny, tmp_path: Path) -> None:
    source = Path(tiny_vlm("smolvlm").source)
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        TextKeypointModel.load(replace(tiny_vlm("smolvlm"), source=str(tmp_path)))


@pytest.mark.parametrize(
    "change", [{"attempts": 0}, {"temperature": 0.0}, {"lora_rank": 0}, {"batch_size": -1}]
)
def test_when_a_setting_is_out_of_range_expect_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        TextModelConfig("tiny", **change)


@pytest.mark.parametrize(
    ("choice", "source"),
    [
        ("smolvlm_256m", "HuggingFaceTB/SmolVLM-256M-Instruct"),
        ("smolvlm_500m", "HuggingFaceTB/SmolVLM-500M-Instruct"),
        ("qwen2_5_vl_3b", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("qwen2_5_vl_7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("paligemma_3b", "google/paligemma-3b-pt-448"),
    ],
)
def test_every_choice_of_the_model_group_composes(choice: str, source: str) -> None:
    config = MODELS.compose([f"model={choice}", "model.lora_rank=4"]).model
    assert isinstance(config, TextModelConfig)
    assert (config.source, config.lora_rank) == (source, 4)
    assert (config.prompt == "prefix") == (choice == "paligemma_3b")


def test_when_no_source_is_given_expect_error() -> None:
    with pytest.raises(ConfigError, match=r"model\.source"):
        MODELS.compose(["model=text"])
