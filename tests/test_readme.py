"""What README and the other pages show works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kalie
from kalie.affordance.dataset import AffordanceDataset
from kalie.cli import convert
from kalie.cli._help import as_typed
from kalie.cli.main import load_verb, main, parse, split_verb, verb_names
from kalie.core.config import defaults_of, flatten
from kalie.perception.camera_files import save_intrinsics, save_transform
from kalie.perception.frame import ImageArray
from kalie.perception.sam import Detection, PromptedSegmenter
from kalie.perception.segmentation import BoxPrompt, InstanceMask
from kalie.rl.registry import ALGORITHMS
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World
from kalie.synthesis.compose import ComposeConfig, for_task
from kalie.synthesis.pipeline import SynthesisConfig, synthesise

ROOT = Path(kalie.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/models.md",
    "docs/environments.md",
    "docs/own_photos.md",
    "docs/rl.md",
    "docs/rl_arm.md",
    "docs/ros.md",
    "docs/scaling.md",
    "docs/simulation.md",
    "examples/objects/README.md",
)


def _python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)


def _run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _commands(page: str) -> list[str]:
    lines = re.findall(r"^ {4}kalie (.*)$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    return [line for line in lines if "VERB" not in line and not line.startswith("--help")]


def _shown(page: str, verb: str, word: str) -> list[str]:
    """The arguments of the one command that a page shows for a verb with that word in it."""
    (line,) = [line for line in _commands(page) if line.startswith(f"{verb} ") and word in line]
    return shlex.split(line, comments=True)


def test_python_example_of_the_readme_sweeps(tmp_path: Path) -> None:
    (code,) = _python("README.md")
    last = _run(code, tmp_path).splitlines()[-1]
    assert last.startswith("done Judgement(success=True")


def test_own_photos_with_depth_become_a_data_set_that_can_be_synthesised_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("photos", "calibration"):
        (tmp_path / name).mkdir()
    world = World()
    scenes = [stage(world, task("sweep"), "train", index) for index in range(2)]
    for index, staged in enumerate(scenes):
        photo = tmp_path / "photos" / f"{index:03d}.png"
        Image.fromarray(staged.frame.rgb).save(photo)
        np.save(photo.with_suffix(".npy"), staged.frame.depth)
        label = {"instruction": staged.scene.instruction, "affordance": staged.affordance.to_json()}
        photo.with_suffix(".json").write_text(json.dumps(label))
    frame, folder = scenes[-1].frame, tmp_path / "calibration"
    save_intrinsics(folder / "intrinsics.json", frame.intrinsics)
    save_transform(folder / "extrinsics.json", "base_from_camera", frame.base_from_camera)
    world.close()
    monkeypatch.chdir(tmp_path)
    assert main(_shown("docs/own_photos.md", "convert", "segmenter=tabletop")) == 0
    photos = AffordanceDataset.load(tmp_path / "data" / "photos")
    assert len(photos) == 2
    compose = for_task(ComposeConfig(), "sweep")
    assert len(synthesise(photos.items, SynthesisConfig(count=2, compose=compose), 0)) == 2


def test_own_photos_without_depth_get_their_masks_from_a_promptable_segmenter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {
        f"{name} Point": [500, 500] for name in ("Grasp", "Function", "Target", "Pre-contact", "Post-contact")
    }
    other = {"task": "sweep", "objects": ["brush", "paper"]}
    (tmp_path / "kalie").mkdir()
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / "kalie" / "a.png")
    entries = {"a": {"img": "a.png", "points": json.dumps(points), "other": other}}
    (tmp_path / "kalie" / "data_jsonformat.json").write_text(json.dumps(entries))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(convert, "build_segmenter", lambda _: PromptedSegmenter(OnePatch(), OnePatch()))
    assert main(_shown("docs/own_photos.md", "convert", "data_jsonformat.json")) == 0
    (photo,) = AffordanceDataset.load(tmp_path / "data" / "photos")
    assert photo.masks is not None
    assert photo.masks[20, 20] == 2
    assert photo.masks[0, 0] == 0


class OnePatch:
    """In place of two downloaded models: answers every name with one patch."""

    def detect(self, rgb: ImageArray, text: str) -> Detection:
        return Detection(BoxPrompt(10, 10, 30, 30), 0.9)

    def predict(self, rgb: ImageArray, prompts: Sequence[object]) -> list[InstanceMask]:
        mask = np.zeros(rgb.shape[:2], bool)
        mask[10:30, 10:30] = True
        return [InstanceMask(mask, 0.9) for _ in prompts]


@pytest.mark.parametrize("code", _python("docs/simulation.md"))
def test_python_examples_of_the_simulation_page_run(code: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    _run(code, tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_commands_compose(page: str) -> None:
    for line in _commands(page):
        name, arguments = split_verb(shlex.split(line, comments=True))
        options = parse(arguments)
        if not options.help:
            verb = load_verb(name)
            for job in verb.schema(name).combinations(verb.overrides(options.overrides)):
                verb.schema(name).compose(job)


RL = (ROOT / "docs" / "rl.md").read_text("utf-8")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_page_of_agents_shows_every_algorithm_with_its_true_defaults(name: str) -> None:
    section = RL.partition(f"### `{name}`\n")[2].partition("\n##")[0]
    true = {key: as_typed(value) for key, value in flatten(defaults_of(ALGORITHMS[name])).items()}
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    assert rows
    for key, default in rows:
        assert true[key.strip(" `")] == default.strip().replace(", ", ",").replace("(required)", "???"), key
    assert f"algorithm={name} " in section


def test_the_page_of_agents_names_every_recipe() -> None:
    for path in (ROOT / "conf" / "experiment").glob("*/*.yaml"):
        assert f"`{path.parent.name}/{path.stem}`" in RL


def test_a_model_of_ones_own_composes_as_the_page_of_agents_shows_it(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", RL, flags=re.DOTALL)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(shown)
    options = parse(["model=mine", "env.rendering=text", "--config-dir", str(tmp_path)])
    model = load_verb("train").schema("train").compose(options.overrides).model
    assert (model.source, model.lora_rank) == ("HuggingFaceTB/SmolLM2-360M-Instruct", 16)


def test_the_readme_lists_every_verb() -> None:
    table = README.partition("| verb |")[2].partition("\n\n")[0]
    rows = (line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert sorted(name for row in rows for name in re.findall(r"`([a-z ]+)`", row)) == verb_names()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(
        r"^ {4}make (\S+)", README + (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    ):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


HEADING = re.compile(r"^#+ (.*)$", flags=re.MULTILINE)


def test_folders_and_links_exist() -> None:
    for folder in re.findall(r"`(\w+)/`", README.partition("## Layout")[2].partition("## More")[0]):
        assert (ROOT / folder).is_dir(), folder
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        headings = {
            re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in HEADING.findall(text)
        }
        for link in re.findall(r"\]\((\S+?)\)", text):
            file, _, heading = link.partition("#")
            assert ((ROOT / page).parent / file).exists(), link
            assert file or heading in headings, link
