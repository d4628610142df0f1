"""A verb with groups, run directories and every way to fail, through the real command."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kalie.cli import main as command
from kalie.cli._verb import Verb
from kalie.core.loggers import LOGGERS, LoggerConfig
from kalie.core.runs import Run, RunConfig


@dataclass(frozen=True)
class SmallConfig:
    """A small model.

    Attributes:
        width: how wide.
    """

    width: int = 4


@dataclass(frozen=True)
class LargeConfig:
    """A large model."""

    layers: int = 9


@dataclass(frozen=True)
class FakeConfig:
    """Keys of `kalie fake`.

    Attributes:
        model: what is trained, a text that goes
            over two lines.
        seed: of everything.
    """

    model: SmallConfig | LargeConfig = field(default_factory=SmallConfig)
    logger: LoggerConfig = field(default_factory=lambda: LoggerConfig(tensorboard=False))
    run: RunConfig = field(default_factory=RunConfig)
    seed: int = 0
    fails: str = ""


FAILURES = {
    "value": ValueError("photo 3.png is\nnot an image"),
    "file": FileNotFoundError(2, "No such file or directory", "photos/labels.json"),
    "package": ImportError("diffusers is not installed: pip install 'kalie[diffusion]'"),
    "bug": RuntimeError("a bug"),
    "interrupt": KeyboardInterrupt(),
}


def fake_main(cfg: FakeConfig) -> int:
    with Run.open("fake", cfg.run, cfg, seeds=[cfg.seed], logger=cfg.logger) as run:
        run.add_row("seed", cfg.seed, model=type(cfg.model).__name__)
        if cfg.fails:
            raise FAILURES[cfg.fails]
    return 0


FAKE = Verb(
    FakeConfig,
    fake_main,
    examples=("kalie fake", "kalie fake model=large"),
    groups={"model": {"small": SmallConfig, "large": LargeConfig}, "logger": LOGGERS},
)


@pytest.fixture(autouse=True)
def _fake_verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load_verb", lambda name: FAKE)
    monkeypatch.setattr(command, "verb_line", lambda name: "A fake verb.")


def rows(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "summary.json").read_text())["rows"]


def test_group_choice_reaches_the_verb_as_its_dataclass(tmp_path: Path) -> None:
    assert command.main(["fake", "model=large", "seed=3", "run.name=a"]) == 0
    (row,) = rows(tmp_path / "outputs/fake/a")
    assert (row["model"], row["value"]) == ("LargeConfig", 3)
    assert "_target_" in (tmp_path / "outputs/fake/a/config.yaml").read_text()
    summary = json.loads((tmp_path / "outputs/fake/a/summary.json").read_text())
    assert summary["command"] == "kalie fake model=large seed=3 run.name=a"


def test_multirun_makes_one_run_per_job(tmp_path: Path) -> None:
    assert command.main(["fake", "--multirun", "seed=0,1,2", "run.name=seed-${seed}"]) == 0
    found = [rows(tmp_path / f"outputs/fake/seed-{seed}")[0]["value"] for seed in range(3)]
    assert found == [0, 1, 2]


def test_multirun_without_names_collides_never(tmp_path: Path) -> None:
    assert command.main(["fake", "-m", "seed=range(0,3)", "model=small,large"]) == 0
    runs = [path for path in (tmp_path / "outputs/fake").iterdir() if path.name != "latest"]
    assert len(runs) == 6


def test_help_shows_groups_choices_keys_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["fake", "--help"]) == 0
    shown = capsys.readouterr().out
    for text in ("small, large", "default, trackio, wandb", "model.width", "how wide", "run.resume", "false"):
        assert text in shown
    assert "kalie fake model=large" in shown


def test_resume_is_refused_with_another_config_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["fake", "run.name=a"]) == 0
    assert command.main(["fake", "run.name=a", "run.resume=true"]) == 0
    capsys.readouterr()
    assert command.main(["fake", "run.name=a", "run.resume=true", "seed=1"]) == 2
    assert "seed: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "says"),
    [
        ("value", 1, "kalie: fake: photo 3.png is not an image"),
        ("file", 1, "photos/labels.json"),
        ("package", 1, "pip install 'kalie[diffusion]'"),
        ("interrupt", 130, "interrupted"),
    ],
)
def test_when_the_work_fails_expect_one_line(
    failure: str, code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main(["fake", f"fails={failure}", "run.name=a"]) == code
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "outputs/fake/a/summary.json").read_text())["status"] == "failed"


def test_when_a_bug_is_met_expect_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        command.main(["fake", "fails=bug"])


def test_when_traceback_is_wanted_expect_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="not an image"):
        command.main(["fake", "fails=value"])
