"""`kalie train` and `kalie eval`: what cannot work is refused at once; runs go on where they stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import kalie.conf
from kalie.cli._agents import show_training
from kalie.cli.eval import training_of
from kalie.cli.main import main
from kalie.cli.train import VERB, TrainConfig, run_name
from kalie.core.checkpoint import load_tensors
from kalie.core.config import TARGET, ConfigError, flatten, target_name
from kalie.core.report import Report
from kalie.rl.algorithms.reinforce import Reinforce
from kalie.rl.algorithms.sft import SFTConfig
from kalie.rl.envs.twenty_questions import TwentyQuestionsConfig
from kalie.rl.models import MODELS
from kalie.rl.policies import load_policy
from kalie.rl.registry import ALGORITHMS, load_valuer
from kalie.rl.store import TrajectoryStore
from kalie.rl.trainer import CRITIC, FSDPTrainerConfig
from kalie.rl.warm_start import has_warm_start

SCHEMA = VERB.schema("train")
CONF = Path(kalie.conf.__file__).parent
RECIPES = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix(""))
    for path in (CONF / "experiment").glob("*/*.yaml")
)
TUNED = sorted(path.relative_to(CONF / "tuned") for path in (CONF / "tuned").rglob("*.yaml"))
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
    "generator.max_new_tokens=48",
    "logger.tensorboard=false",
]
TINY_VLM = [
    *("algorithm=cot_ppo", "model=tiny_vlm", "model.hidden=32", "model.layers=1", "model.window=1"),
    *("warm_start.updates=1", "warm_start.sft.episodes=2", "warm_start.sft.steps=1"),
]
KEYPOINTS = ["algorithm=ppo", "model=keypoint_base", "model.weights=tasks"]
ARM = ["env=manipulation", "algorithm=ppo"]
TEXT = ["env.rendering=text", "model=tiny_lm"]
SFT = ["train", "algorithm=sft", *TINY, "algorithm.episodes=20", "algorithm.steps=2"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_and_says_so_itself(name: str) -> None:
    config = SCHEMA.compose([f"experiment={name}"])
    assert isinstance(config, TrainConfig)
    text = (CONF / "experiment" / f"{name}.yaml").read_text("utf-8")
    assert f"kalie train experiment={name}:" in text


def test_there_are_recipes_of_both_papers_and_the_arm() -> None:
    assert {name.split("/")[0] for name in RECIPES} >= {"archer", "arm", "rl4vlm", "tiny"}


@pytest.mark.parametrize("path", TUNED, ids=lambda path: "/".join(path.parts))
def test_what_is_tuned_for_choices_that_meet_replaces_defaults_and_yields_to_keys_and_recipes(
    path: Path,
) -> None:
    names = dict(zip(VERB.tuned_by, path.with_suffix("").parts, strict=True))
    assert str(path.with_suffix("")) in SCHEMA.tuned()
    for group, choice in names.items():
        assert choice in VERB.groups[group]
    choices = [f"{group}={choice}" for group, choice in names.items()]
    text = (CONF / "tuned" / path).read_text("utf-8")
    assert f"kalie train {choices[0]} {choices[1]}:" in text
    plain, tuned = flatten(SCHEMA.values([choices[2]])), flatten(yaml.safe_load(text))
    composed = flatten(SCHEMA.values(choices))
    for key, value in tuned.items():
        assert composed[key] == value
        assert key.startswith(("algorithm.", "env.")) or plain[key] != value
    assert flatten(SCHEMA.values([*choices, "trainer.updates=77"])) == composed | {"trainer.updates": 77}


def test_settings_tuned_for_other_choices_are_not_merged() -> None:
    alone = SCHEMA.compose(["env=twenty_questions"])
    assert alone == replace(SCHEMA.compose([]), env=TwentyQuestionsConfig())
    published = SCHEMA.compose(["experiment=archer/twenty_questions"])
    assert published.algorithm.critic.source == ""
    assert published.env == TwentyQuestionsConfig()


def test_every_choice_of_model_and_algorithm_composes() -> None:
    SCHEMA.compose(["model=keypoint_base", *ARM])
    for name in sorted(MODELS.keys() - {"keypoint_base"}):
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
        ([*TEXT, "generator=openai"], r"model\.lora_rank=0"),
        (["generator=openai", "model.lora_rank=4"], "protocol=completions sends no images"),
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
        (["env=manipulation", "env.split=test"], "env.split=test is held out"),
        (["model=keypoint_base", "algorithm=ppo"], "answers env=manipulation only, not env=number_line"),
        (["model=keypoint_base", *ARM, "algorithm=cot_ppo"], "algorithm=cot_ppo needs a language model"),
        (["model=keypoint_base", *ARM, "algorithm=archer"], "use algorithm=ppo or reinforce or filtered_bc"),
        (["model=keypoint_base", *ARM, "algorithm=sft"], "algorithm=sft needs a language model"),
        (["model=keypoint_base", *ARM, "generator=openai"], "model=keypoint_base needs generator=hf"),
        (["model=keypoint_base", *ARM, "model.scalar_sigma=0"], "scalar_sigma"),
        (["model=keypoint_base", *ARM, "warm_start.when=always"], "learns from labels, by kalie finetune"),
        (["algorithm.turns=0"], "one of them must be 0"),
        (["algorithm.gama=0.9"], r"did you mean 'algorithm\.gamma'"),
        (["trainer.updates=0"], "updates=0 must be at least 1"),
        (
            ["env=jericho", "env.games=[x.z5]", "model=tiny_lm"],
            r"give stored trajectories as warm_start\.sft\.data, or set warm_start\.when=never",
        ),
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
    ("trainer", "message"),
    [
        (["trainer=single"], "use trainer=ddp or fsdp"),
        (["trainer=ddp"], "trainer.processes: say how many"),
        (["trainer=fsdp", "--multirun", "trainer.processes=2"], "a sweep cannot start several processes"),
    ],
)
def test_when_the_processes_are_not_those_of_the_trainer_expect_an_error_and_no_run(
    trainer: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    if trainer == ["trainer=single"]:
        monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*SFT, *trainer]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "outputs" / "train").exists()


@pytest.mark.parametrize(("wanted", "gpus", "started"), [(0, 4, 4), (2, 4, 2), (0, 1, 0), (1, 0, 0)])
def test_processes_are_as_many_as_gpus_unless_told(
    wanted: int, gpus: int, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert FSDPTrainerConfig(processes=wanted).processes_to_start() == started
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert FSDPTrainerConfig(processes=wanted).processes_to_start() == 0


@pytest.mark.slow
def test_the_command_starts_its_processes_and_leaves_one_run(tmp_path: Path) -> None:
    more = ["trainer=fsdp", "trainer.processes=2", "trainer.updates=2", "trainer.evaluate_every=1"]
    subprocess.run(command([*SFT, *more]), cwd=tmp_path, check=True, capture_output=True)
    (run,) = [path for path in (tmp_path / "outputs" / "train").iterdir() if not path.is_symlink()]
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert main(["eval", f"run={run}", "episodes=4", f"output.outputs={tmp_path}"]) == 0


@pytest.mark.parametrize(
    ("overrides", "first"),
    [
        ([], True),
        (["algorithm=archer"], True),
        (["algorithm=sft"], False),
        (["model.weights=somewhere"], False),
        (["model.weights=somewhere", "warm_start.when=always"], True),
        (["warm_start.when=never"], False),
        (["model=qwen2_5_vl"], False),
        (["model=qwen2_5_vl", "warm_start.when=always", "warm_start.sft.misread=0.2"], True),
    ],
)
def test_an_untrained_model_learns_demonstrations_first(overrides: list[str], first: bool) -> None:
    cfg = SCHEMA.compose(overrides)
    assert has_warm_start(cfg.warm_start, cfg.algorithm, cfg.env, cfg.model) == first


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
    metrics = {row["metric"] for row in summary["rows"]}
    assert metrics - {"faithful"} == {"success", "return", "turns", "invalid"}
    assert (run / "report" / "index.html").is_file()
    assert (run / "best" / "policy.safetensors").is_file()
    assert main(["eval", f"run={run}", "episodes=8"]) == 0
    rows = json.loads((tmp_path / "outputs/eval/latest/summary.json").read_text())["rows"]
    assert {row["player"] for row in rows} == {"agent", "random", "expert"}
    (expert,) = [row for row in rows if row["player"] == "expert" and row["metric"] == "success"]
    assert expert["value"] == 1.0
    further = [*command, f"model.weights={run / 'model'}", "warm_start.when=never", "run.name=further"]
    assert main(further) == 0
    assert main(["eval", "run=outputs/train/further", "episodes=4", "device=cpu"]) == 0
    rows = json.loads((tmp_path / "outputs/eval/latest/summary.json").read_text())["rows"]
    assert {row["player"] for row in rows} == {"agent", "start", "random", "expert"}
    assert main(["eval", "run=nowhere"]) == 2
    assert "no run of kalie train" in capsys.readouterr().err
    assert main(["eval", f"run={run}", "split=test"]) == 2
    assert "only env=manipulation has splits" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("what", [KEYPOINTS, TINY_VLM])
def test_the_arms_commands_run_and_eval_stands_between_floor_and_ceiling(
    what: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["trainer.updates=2", "trainer.evaluate_every=0", "generator.slots=2", "logger.tensorboard=false"]
    arm = ["env=manipulation", "task=drawer", "env.tries=1", "algorithm.turns=0", "algorithm.episodes=2"]
    assert main(["train", *what, *arm, *more]) == 0
    (run,) = [path for path in (tmp_path / "outputs" / "train").iterdir() if not path.is_symlink()]
    assert main(["eval", f"run={run}", "episodes=2", "split=test"]) == 0
    rows = json.loads((tmp_path / "outputs/eval/latest/summary.json").read_text())["rows"]
    assert {(row["task"], row["split"]) for row in rows} == {("drawer", "test")}
    success = {row["player"]: row["value"] for row in rows if row["metric"] == "success"}
    assert success.keys() == {"agent", "start", "random", "expert"}
    assert success["random"] <= success["expert"] == 1.0
    (change,) = [row["value"] for row in rows if row["metric"] == "gain"]
    assert change == success["agent"] - success["start"]
    if what == KEYPOINTS:
        assert main(["run", f"weights={run / 'model'}", "task=drawer", "split=validation"]) == 0


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
    "warm_start.when=never",
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
    policy = load_policy(trained.model, trained.seed)
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


WARM = [
    *("train", "algorithm=reinforce", *TINY, "algorithm.episodes=4", "trainer.updates=1"),
    *("trainer.evaluate_every=0", "warm_start.updates=3", "warm_start.sft.episodes=20"),
    "warm_start.sft.steps=2",
]


def test_stopped_after_its_warm_start_a_run_goes_on_bit_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WARM, "run.name=whole"]) == 0

    def stops(self: Reinforce, update: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reinforce, "collect", stops)
        assert main([*WARM, "run.name=parts"]) == 130
    demonstrated = (tmp_path / "outputs/train/parts/warm_start/metrics.jsonl").read_text()
    assert main([*WARM, "run.name=parts"]) == 0
    whole, parts = (
        load_tensors(tmp_path / f"outputs/train/{name}/model/policy.safetensors")
        for name in ("whole", "parts")
    )
    warm = load_tensors(tmp_path / "outputs/train/parts/warm_start/model/policy.safetensors")
    assert all(whole[name].equal(parts[name]) for name in whole)
    assert any(not warm[name].equal(parts[name]) for name in warm)
    assert (tmp_path / "outputs/train/parts/warm_start/metrics.jsonl").read_text() == demonstrated
    assert main(["eval", "run=outputs/train/parts", "episodes=3"]) == 0
    rows = json.loads((tmp_path / "outputs/eval/latest/summary.json").read_text())["rows"]
    assert {row["player"] for row in rows} == {"agent", "start", "random", "expert"}
    assert len(demonstrated.splitlines()) == 3


def test_the_report_draws_what_changes_and_tells_what_was_measured_once(tmp_path: Path) -> None:
    lines = [{"step": step, "rollout/success": 0.1 * step, "sft/loss": 1.0 / step} for step in (1, 2, 3)]
    lines[0]["demonstrations/return"] = 0.486
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = Report("Training")
    show_training(report.section("Curves"), tmp_path / "metrics.jsonl")
    html = report.html()
    assert html.index("rollout: success") < html.index("sft: loss") < html.index("measured once")
    assert "0.486" in html
    assert "demonstrations: return" not in html


ARCHER = [
    *("train", "algorithm=archer", *TINY, "algorithm.episodes=4", "algorithm.critic_steps=2"),
    *("algorithm.warmup=1", "trainer.updates=4", "warm_start.updates=3", "warm_start.sft.episodes=20"),
    *("warm_start.sft.steps=2", "seed=0,1", "--multirun"),
]
KILLS = [
    ([*SFT, "trainer.updates=6"], ["sft*/checkpoints/*1", "sft*/checkpoints/*3"]),
    (
        ARCHER,
        ["*-0-*/warm_start/checkpoints/*2", "*-0-*/checkpoints/*2", "*-1-*/checkpoints/*3"],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "moments"), KILLS, ids=["sft", "seeds of archer"])
def test_killed_at_any_instant_and_started_again_ends_bit_identical(
    arguments: list[str], moments: list[str], tmp_path: Path
) -> None:
    arguments = [*arguments, "trainer.evaluate_every=0"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    subprocess.run(command(arguments), cwd=whole, check=True, capture_output=True)
    kills = 0
    for moment in moments:
        process = subprocess.Popen(command(arguments), cwd=killed, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(killed.glob(f"outputs/train/{moment}")):
            time.sleep(0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run(command(arguments), cwd=killed, check=True, capture_output=True)
    assert kills == len(moments)
    weights = "outputs/train/*-*/model/policy.safetensors"
    ends = [sorted(path.relative_to(folder) for path in folder.glob(weights)) for folder in (whole, killed)]
    assert ends[0] == ends[1]
    assert ends[0]
    for name in ends[0]:
        first, second = (load_tensors(folder / name) for folder in (whole, killed))
        assert all(first[key].equal(second[key]) for key in first), name


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "kalie.cli.main", *arguments]
