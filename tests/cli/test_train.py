"""`kalie train` and `kalie eval`: what cannot work is refused at once; runs go on where they stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kalie.conf
from kalie.cli.main import main
from kalie.cli.train import VERB, TrainConfig, run_name
from kalie.core.checkpoint import load_tensors
from kalie.core.config import ConfigError
from kalie.rl.models import MODELS
from kalie.rl.registry import ALGORITHMS

SCHEMA = VERB.schema("train")
RECIPES = sorted(
    str(path.relative_to(Path(kalie.conf.__file__).parent / "experiment").with_suffix(""))
    for path in (Path(kalie.conf.__file__).parent / "experiment").glob("*/*.yaml")
)
TINY = [
    "env=number_line",
    "env.rendering=symbolic",
    "model=tiny_lm",
    "model.hidden=32",
    "model.layers=1",
    "model.heads=2",
    "model.window=1",
    "trainer.evaluation_episodes=6",
    "trainer.checkpoint_every=1",
    "generator.max_new_tokens=40",
    "logger.tensorboard=false",
]
SFT = ["train", "algorithm=sft", *TINY, "algorithm.episodes=20", "algorithm.steps=2"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_and_says_so_itself(name: str) -> None:
    config = SCHEMA.compose([f"experiment={name}"])
    assert isinstance(config, TrainConfig)
    text = (Path(kalie.conf.__file__).parent / "experiment" / f"{name}.yaml").read_text("utf-8")
    assert f"kalie train experiment={name}:" in text


def test_there_are_recipes_of_both_papers() -> None:
    assert {name.split("/")[0] for name in RECIPES} == {"archer", "rl4vlm"}


def test_every_choice_of_model_and_algorithm_composes() -> None:
    for name in MODELS:
        more = ["model.source=somewhere"] if name == "hub" else []
        SCHEMA.compose([f"model={name}", "env.rendering=text", *more])
    for name in ALGORITHMS:
        more = ["algorithm.data=somewhere"] if name == "archer_offline" else []
        config = SCHEMA.compose([f"algorithm={name}", *more])
        assert type(config.algorithm) is ALGORITHMS[name]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=tiny_lm"], "env=number_line shows images"),
        (["env=manipulation", "model=tiny_lm"], "env=manipulation shows images"),
        (["generator=openai"], "does not give the own weights that algorithm=cot_ppo needs"),
        (["algorithm=archer", "generator=openai"], "that algorithm=archer needs"),
        (["executor=ray"], r"set algorithm\.episodes"),
        (["algorithm=best_of_n", "executor=ray"], "use executor=local"),
        (["task=sweep"], "only env=manipulation has tasks"),
        (["env=manipulation", "task=sweap"], "must be sweep, drawer"),
        (["algorithm.turns=0"], "one of them must be 0"),
        (["algorithm.gama=0.9"], r"did you mean 'algorithm\.gamma'"),
        (["trainer.updates=0"], "updates=0 must be at least 1"),
    ],
)
def test_when_parts_do_not_go_together_expect_a_config_error(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SCHEMA.compose(overrides)


def test_a_run_is_named_after_what_is_trained_not_where_it_is_written() -> None:
    names = {
        run_name(SCHEMA.compose(more))
        for more in ([], ["run.outputs=elsewhere"], ["logger.tensorboard=false"])
    }
    assert len(names) == 1
    assert next(iter(names)).startswith("cot_ppo-number_line-0-")
    assert run_name(SCHEMA.compose(["seed=1"])) not in names


def test_the_same_command_finds_its_finished_run_and_eval_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*SFT, "trainer.updates=2", "trainer.evaluate_every=1"]
    assert main(command) == 0
    (run,) = [path for path in (tmp_path / "outputs" / "train").iterdir() if not path.is_symlink()]
    weights = (run / "model" / "policy.safetensors").read_bytes()
    assert main(command) == 0
    assert (run / "model" / "policy.safetensors").read_bytes() == weights
    summary = json.loads((run / "summary.json").read_text())
    assert {row["metric"] for row in summary["rows"]} == {"success", "return", "turns", "invalid"}
    assert (run / "report" / "index.html").is_file()
    assert (run / "best" / "policy.safetensors").is_file()
    assert main(["eval", f"run={run}", "episodes=8"]) == 0
    rows = json.loads((tmp_path / "outputs/eval/latest/summary.json").read_text())["rows"]
    assert {row["player"] for row in rows} == {"agent", "random", "expert"}
    (expert,) = [row for row in rows if row["player"] == "expert" and row["metric"] == "success"]
    assert expert["value"] == 1.0
    assert main(["eval", "run=nowhere"]) == 2
    assert "no run of kalie train" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_any_instant_and_started_again_ends_bit_identical(tmp_path: Path) -> None:
    arguments = [*SFT, "trainer.updates=6", "trainer.evaluate_every=0"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    subprocess.run(command(arguments), cwd=whole, check=True, capture_output=True)
    kills = 0
    for wanted in (1, 3):
        process = subprocess.Popen(command(arguments), cwd=killed, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(killed.glob(f"outputs/train/*/checkpoints/*{wanted}")):
            time.sleep(0.05)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run(command(arguments), cwd=killed, check=True, capture_output=True)
    assert kills == 2
    first, second = (
        load_tensors(next(folder.glob("outputs/train/sft*/model/policy.safetensors")))
        for folder in (whole, killed)
    )
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "kalie.cli.main", *arguments]
