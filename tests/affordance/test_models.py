"""The group `model`, through the real command: tune a tiny text model, then predict with its adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from kalie.affordance.dataset import DatasetWriter
from kalie.affordance.labels import LabelledImage
from kalie.affordance.models import build_model
from kalie.affordance.moka import MokaConfig
from kalie.affordance.text import TextKeypointModel, TextModelConfig
from kalie.cli.main import main

torch.set_num_threads(1)


def test_tuned_adapter_is_predicted_with(
    tiny_vlm: Callable[[str], TextModelConfig],
    samples: list[LabelledImage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = tiny_vlm("idefics3")
    model = ["model=text", f"model.source={tiny.source}", f"model.image_size={tiny.image_size}"]
    model += ["model.max_new_tokens=8"]
    with DatasetWriter(tmp_path / "photos") as writer:
        writer.extend(samples)
    tuning = [f"text_tuning.training.{key}" for key in ("steps=2", "batch_size=2", "checkpoint_every=1")]
    run = [f"data={tmp_path / 'photos'}", f"run.outputs={tmp_path / 'out'}", "run.name=tiny"]
    assert main(["finetune", *run, *model, *tuning]) == 0
    adapter = tmp_path / "out" / "finetune" / "tiny" / "model"
    assert (adapter / "adapter_model.safetensors").is_file()
    summary = json.loads((adapter.parent / "summary.json").read_text())
    assert summary["command"]
    Image.fromarray(samples[0].rgb).save(tmp_path / "photo.png")
    capsys.readouterr()
    options = [f"image={tmp_path / 'photo.png'}", "instruction=sweep", f"model.adapter={adapter}"]
    # Two steps teach nothing, and an answer that cannot be read is no answer.
    assert main(["predict", *options, *model, "model.attempts=2"]) == 1
    assert "no usable answer in 2 replies" in " ".join(capsys.readouterr().out.split())


def test_each_config_builds_its_own_model(tiny_vlm: Callable[[str], TextModelConfig]) -> None:
    assert isinstance(build_model(tiny_vlm("smolvlm")), TextKeypointModel)
    with pytest.raises(ValueError, match="objects"):
        build_model(MokaConfig())


def test_when_a_source_does_not_exist_expect_error(
    tiny_vlm: Callable[[str], TextModelConfig], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="nowhere"):
        build_model(replace(tiny_vlm("smolvlm"), source=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    "options",
    [["model=smolvlm_256m", "tuning.training.steps=5"], ["text_tuning.training.steps=5"], ["model=moka"]],
)
def test_when_tuning_and_model_do_not_fit_expect_exit_2(options: list[str]) -> None:
    assert main(["finetune", "data=photos", *options]) == 2
