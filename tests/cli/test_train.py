"""`kalie train` and `kalie eval`: what cannot work is refused at once; runs go on where they stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import kalie.conf
from kalie.cli.eval import training_of
from kalie.cli.main import main
from kalie.cli.train import VERB, TrainConfig, run_name
from kalie.core.checkpoint import load_tensors
from kalie.core.config import TARGET, ConfigError, target_name
from kalie.rl.algorithms.sft import SFTConfig
from kalie.rl.models import MODELS
from kalie.rl.policy import Policy
from kalie.rl.registry import ALGORITHMS, load_valuer
from kalie.rl.store import TrajectoryStore
from kalie.rl.trainer import CRITIC

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
        (["generator=openai"], r"model\.lora_rank=0"),
        (["generator=openai", "generator.weights=server"], "not give the own weights that algorithm=cot_ppo"),
        (
            ["algorithm=archer", "generator=openai", "generator.log_probs=none"],
            "log probs that algorithm=archer",
        ),
        (["executor=ray"], r"set algorithm\.episodes"),
        (["executor.processes=2"], r"executor\.processes.*set algorithm\.episodes"),
        (["algorithm=best_of_n", "executor.processes=2"], r"use executor=local executor\.processes=1"),
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


def test_the_large_job_composes() -> None:
    command = (
        "algorithm=archer env=guess_my_city model=qwen2_5_1_5b generator=openai executor=ray trainer=fsdp"
    )
    config = SCHEMA.compose(command.split())
    assert config.model.source == "Qwen/Qwen2.5-1.5B-Instruct"
    assert config.generator.weights == "adapter"


@pytest.mark.parametrize(
    ("trainer", "processes", "message"),
    [("single", "2", "use trainer=ddp or fsdp"), ("ddp", "1", "torchrun"), ("fsdp", "1", "torchrun")],
)
def test_when_the_processes_are_not_those_of_the_trainer_expect_an_error_and_no_run(
    trainer: str,
    processes: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", processes)
    assert main([*SFT, f"trainer={trainer}"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "outputs").exists()


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


BEST_OF_2 = [
    "train",
    "algorithm=best_of_n",
    *TINY,
    "algorithm.samples=2",
    "algorithm.critic.episodes=3",
    "algorithm.critic.critic_steps=1",
    "algorithm.critic.critic.hidden=32",
    "trainer.updates=1",
    "trainer.evaluate_every=1",
    "run.name=chooser",
]


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of best_of_n."""
    folder = tmp_path_factory.mktemp("best_of_n")
    assert main([*BEST_OF_2, f"run.outputs={folder}"]) == 0
    return folder / "train" / "chooser"


def test_the_saved_critic_is_the_one_whose_values_were_stored(chooser: Path) -> None:
    trained = training_of(chooser)
    policy = Policy.load(trained.model, trained.seed)
    valuer = load_valuer(trained.algorithm, policy, chooser / "model" / CRITIC)
    assert valuer is not None
    (path,) = (chooser / "evaluations").glob("*000001.parquet")
    stored = [value for one in pq.read_table(path)["values"].to_pylist() for value in one]
    played = [item.trajectory for item in TrajectoryStore(path.parent).read([path.stem])]
    assert stored == [np.float32(value) for values in valuer.values(played) for value in values[:-1]]


def test_eval_of_best_of_n_lets_the_critic_choose_unless_told_otherwise(
    chooser: Path, tmp_path: Path
) -> None:
    said = {}
    for samples in (0, 1, 3):
        name = f"output.name=of{samples}"
        more = [f"samples={samples}", "temperature=-1", "episodes=4", "references=false", name]
        assert main(["eval", f"run={chooser}", f"output.outputs={tmp_path}", *more]) == 0
        table = pq.read_table(tmp_path / "eval" / f"of{samples}" / "episodes" / "agent.parquet")
        said[samples] = table["response"].to_pylist()
        assert table["values"].null_count == 0
    assert said[0] != said[1]
    assert said[0] != said[3]


def test_when_there_is_nothing_to_choose_by_expect_a_config_error(
    chooser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "sft"
    shutil.copytree(chooser, other)
    config = other / "config.yaml"
    plain = yaml.safe_load(config.read_text("utf-8"))
    config.write_text(yaml.safe_dump({**plain, "algorithm": {TARGET: target_name(SFTConfig)}}))
    for run, more, message in (
        (chooser, "temperature=0", "2 samples to choose from would be all alike"),
        (other, "samples=4", "algorithm=sft has no critic of utterances"),
    ):
        assert main(["eval", f"run={run}", more, f"output.outputs={tmp_path}"]) == 2
        assert message in capsys.readouterr().err
    (chooser / "model" / CRITIC).rename(chooser / "model" / "kept")
    assert main(["eval", f"run={chooser}", f"output.outputs={tmp_path}"]) == 2
    (chooser / "model" / "kept").rename(chooser / "model" / CRITIC)
    assert "holds no model/critic.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "eval").exists()


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
