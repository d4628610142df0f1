"""The group `model`, through the real command: tiny text models, and MOKA on an endpoint of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kalie.affordance.dataset import DatasetWriter
from kalie.affordance.labels import LabelledImage
from kalie.affordance.models import HeatmapModelConfig, build_model
from kalie.affordance.moka import MokaConfig
from kalie.affordance.text import TextKeypointModel, TextModelConfig
from kalie.cli._models import OracleConfig
from kalie.cli.main import main
from kalie.cli.run import RunVerbConfig
from kalie.perception.frame import ImageArray
from kalie.perception.sam import Detection, PlacePrompt, PromptedSegmenter
from kalie.perception.segmentation import BoxPrompt, InstanceMask
from kalie.perception.segmenters import SegmentAnythingConfig

from .chat_server import says, serve

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


CHOICE = {
    "grasp": "P1", "function": None, "target": "Q1", "pre_contact": "a1", "post_contact": "e5",
    "pre_height": "same", "post_height": "same", "tilt": "level",
}  # fmt: skip
CHAT = ("model=moka", "model.chat.model=tiny", "model.chat.attempts=1")


def rows(run: Path) -> dict[tuple[str, str], float]:
    """A summary's values by metric and keypoint (or arm)."""
    found = json.loads((run / "summary.json").read_text())["rows"]
    return {(row["metric"], row.get("keypoint", row.get("arm", ""))): row["value"] for row in found}


def test_a_text_model_is_evaluated_and_its_garbage_counted(
    tiny_vlm: Callable[[str], TextModelConfig], samples: list[LabelledImage], tmp_path: Path
) -> None:
    tiny = tiny_vlm("smolvlm")
    with DatasetWriter(tmp_path / "photos") as writer:
        writer.extend(samples[:2])
    model = ["model=text", f"model.source={tiny.source}", f"model.image_size={tiny.image_size}"]
    model += ["model.max_new_tokens=4", "model.attempts=1", "model.units=pixels", "model.order=yx"]
    run = [f"data={tmp_path / 'photos'}", f"run.outputs={tmp_path}", "run.name=text"]
    assert main(["evaluate", *run, *model]) == 0
    measured = rows(tmp_path / "evaluate" / "text")
    assert measured["invalid", "all"] == 1.0
    assert measured["pck_0.10", "grasp"] == 0.0
    assert "Unusable answers" in (tmp_path / "evaluate" / "text" / "report" / "index.html").read_text()


def test_a_text_model_drives_the_arm(tiny_vlm: Callable[[str], TextModelConfig], tmp_path: Path) -> None:
    tiny = tiny_vlm("smolvlm")
    model = ["model=text", f"model.source={tiny.source}", f"model.image_size={tiny.image_size}"]
    model += ["model.max_new_tokens=4", "model.attempts=1"]
    assert main(["run", *model, f"run.outputs={tmp_path}", "run.name=one"]) == 0
    episode = json.loads((tmp_path / "run" / "one" / "episode.json").read_text())
    assert not episode["success"]
    assert episode["reason"].startswith("invalid")


def test_moka_drives_the_arm_with_objects_found_in_depth(tmp_path: Path) -> None:
    with serve(says({"held": 1, "other": 2}), says(CHOICE)) as server:
        chat = [*CHAT, f"model.chat.url=http://127.0.0.1:{server.server_port}/v1"]
        assert main(["run", "seed=3", *chat, f"run.outputs={tmp_path}", "run.name=one"]) == 0
    episode = json.loads((tmp_path / "run" / "one" / "episode.json").read_text())
    assert not episode["reason"].startswith("invalid")
    first, second = (request["messages"][0]["content"][0]["text"] for request in server.asked)
    assert episode["instruction"] in first
    assert "Red dots P1 to" in second


def test_moka_is_an_arm_of_the_benchmark_without_learning(tmp_path: Path) -> None:
    with serve(says({"held": 1, "other": 2}), says(CHOICE)) as server:
        chat = [*CHAT, f"model.chat.url=http://127.0.0.1:{server.server_port}/v1"]
        what = ["task=sweep", "arms=[zero_shot]", "episodes=1", "seeds=1", "workers=1"]
        assert main(["bench", *what, *chat, f"run.outputs={tmp_path}", "run.name=one"]) == 0
    run = tmp_path / "bench" / "one"
    assert len(server.asked) == 2
    assert rows(run)["invalid", "zero_shot"] == 0.0
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["sweep/zero_shot/success"] in (0, 1)


def test_moka_is_evaluated_with_the_chosen_segmenter(
    samples: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []

    def build(config: object) -> PromptedSegmenter:
        built.append(config)
        return PromptedSegmenter(Halves(), Halves())

    monkeypatch.setattr("kalie.affordance.moka.build_segmenter", build)
    with DatasetWriter(tmp_path / "photos") as writer:
        writer.extend(samples[:1])
    chosen = ["segmenter=segment_anything", "segmenter.checkpoint=sam.pth", "segmenter.detector=dino"]
    with serve(says({"held": 1, "other": 2}), says(CHOICE)) as server:
        chat = [*CHAT, f"model.chat.url=http://127.0.0.1:{server.server_port}/v1"]
        run = [f"data={tmp_path / 'photos'}", f"run.outputs={tmp_path}", "run.name=moka"]
        assert main(["evaluate", *run, *chat, *chosen, "model.objects=[left,right]"]) == 0
    assert built == [SegmentAnythingConfig(Path("sam.pth"), detector="dino")]
    assert rows(tmp_path / "evaluate" / "moka")["invalid", "all"] == 0.0


class Halves:
    """Finds "left" in the left half of a picture and anything else in the right half."""

    def detect(self, rgb: ImageArray, text: str) -> Detection:
        half = rgb.shape[1] / 2
        left = 0.0 if text == "left" else half
        return Detection(BoxPrompt(left, 0, left + half, rgb.shape[0]), 0.9)

    def predict(self, rgb: ImageArray, prompts: Sequence[PlacePrompt]) -> list[InstanceMask]:
        columns = np.arange(rgb.shape[1])[None, :].repeat(rgb.shape[0], axis=0)
        boxes = [prompt for prompt in prompts if isinstance(prompt, BoxPrompt)]
        return [InstanceMask((columns >= box.left) & (columns < box.right), 0.9) for box in boxes]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["predict", "image=a.png", "instruction=go", "model=moka"], "model.objects: a value is required"),
        (["predict", "image=a.png", "instruction=go", "segmenter.device=cuda"], "segmenter is of model=moka"),
        (["run", "segmenter=grounded_sam"], "segmenter is of model=moka"),
        (["run", "model=moka", "segmenter=grounded_sam"], "model.objects: a value is required"),
        (["run", "model=moka", "model.objects=[brush]"], "segmenter=tabletop finds every object"),
        (["run", "weights=base", "model=heatmap"], "weights=base is short for a model"),
        (["bench", "arms=[full]", "model=moka"], "arms does not name it"),
        (
            ["evaluate", "data=d", "model=moka", "model.objects=[a]", "segmenter=segment_anything",
             "segmenter.checkpoint=c"],
            "segmenter.detector: a value is required",
        ),
    ],
)  # fmt: skip
def test_when_model_and_segmenter_do_not_fit_expect_the_key_and_no_work(
    command: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert named in capsys.readouterr().err


def test_weights_are_short_for_a_choice_of_the_model(tmp_path: Path) -> None:
    names = ("tasks", "base", "tuned")
    assert [RunVerbConfig(weights=name).chosen for name in ("", "oracle")] == [OracleConfig()] * 2
    assert [RunVerbConfig(weights=name).chosen for name in names] == [
        HeatmapModelConfig(Path(name)) for name in names
    ]
