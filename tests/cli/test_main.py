"""The command: fast help, strict arguments, Hydra underneath."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kalie.cli.main import load_verb, main, parse, verb_line, verb_names
from kalie.core.config import ConfigError, defaults_of, flatten

VERBS = verb_names()


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kalie.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_help_lists_every_verb_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in VERBS:
        assert f"{name} {verb_line(name)}" in shown


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from kalie.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert {"torch", "pybullet", "hydra", "numpy"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_line_a_docstring_and_two_examples(name: str) -> None:
    verb = load_verb(name)
    assert verb_line(name).endswith(".")
    assert len(verb.examples) >= 2
    assert all(example.startswith(f"kalie {name}") for example in verb.examples)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_s_help_shows_all_keys(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples" in shown
    for key in load_verb(name).config.__dataclass_fields__:
        assert key in shown


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_s_keys_are_explained(name: str) -> None:
    from kalie.cli._help import field_docs
    from kalie.core.config import TARGET, defaults_of, flatten

    verb = load_verb(name)
    nodes = defaults_of(verb.config)
    for group, choices in verb.groups.items():
        nodes[group] = defaults_of(next(iter(choices.values())))
    keys = {key for key in flatten(nodes) if not key.endswith(TARGET)}
    assert not (keys | set(verb.config.__dataclass_fields__)) - set(field_docs(verb.config, verb.groups))


@pytest.mark.parametrize("name", VERBS)
def test_every_example_and_every_choice_is_a_sound_config(name: str) -> None:
    import shlex

    verb = load_verb(name)
    schema = verb.schema(name)
    for example in verb.examples:
        options = parse(shlex.split(example)[2:])
        for job in schema.combinations(options.overrides):
            schema.compose(job)
    required = next(iter(shlex.split(example)[2:] for example in verb.examples))
    for group in verb.groups:
        kept = [item for item in required if not item.startswith(f"{group}")]
        for choice in schema.choices(group):
            try:
                schema.compose([*kept, f"{group}={choice}"])
            except ConfigError as error:
                # A choice may need keys of its own, such as a server's address; nothing else may be wrong.
                assert f"{group}." in str(error)  # noqa: PT017
                assert "a value is required" in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", VERBS)
def test_when_any_key_of_any_verb_is_misspelt_expect_exit_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in load_verb(name).config.__dataclass_fields__:
        assert main([name, f"{key}zz=1"]) == 2
        assert f"{key}zz: no such key; did you mean '{key}" in capsys.readouterr().err


@pytest.mark.parametrize("name", VERBS)
def test_when_any_nested_key_of_any_verb_is_misspelt_expect_the_nearest_name(name: str) -> None:
    """E7: every leaf of every verb's config, groups included."""
    verb = load_verb(name)
    for key in flatten(defaults_of(verb.config)):
        *path, leaf = key.split(".")
        typo = ".".join([*path, f"{leaf}zz"])
        with pytest.raises(ConfigError, match=re.escape(f"{typo}: no such key; did you mean")):
            verb.schema(name).compose([f"{typo}=1"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["docter"], "no verb 'docter'; did you mean 'doctor'?"),
        (["doctor", "--verbose"], "unrecognized arguments: --verbose"),
        (["doctor", "outptus=x"], "outptus: no such key; did you mean 'outputs'?"),
        (["doctor", "least_free_gib=many"], "least_free_gib=many: input should be a valid number"),
        (["doctor", "least_free_gib=-1"], "least_free_gib=-1.0 must not be negative"),
        (["doctor", "-m", "least_free_gib=1,-1"], "least_free_gib=-1.0 must not be negative"),
        (["doctor", "least_free_gib=${nothing}"], "'nothing' not found"),
    ],
)
def test_when_command_is_wrong_expect_one_line_exit_2_and_no_work(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert says in streams.err
    assert streams.err.count("\n") == 1
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_when_the_work_fails_expect_one_line_and_exit_1(tmp_path: Path) -> None:
    done = run("predict", "image=missing.png", "instruction=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("kalie: predict: missing.png: not a readable image")
    assert "Error executing job" not in done.stderr
    assert "Traceback" not in done.stderr


def test_cfg_shows_the_checked_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "least_free_gib=7", "--cfg"]) == 0
    assert capsys.readouterr().out == "outputs: outputs\nleast_free_gib: 7.0\n"


def test_multirun_runs_every_job_through_hydra(tmp_path: Path) -> None:
    done = run("doctor", "--multirun", "least_free_gib=0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("renderer") == 2
    assert (tmp_path / "outputs" / "multirun" / "doctor").is_dir()


def test_single_run_makes_no_files_of_hydra_s(tmp_path: Path) -> None:
    assert run("doctor", cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_when_disk_is_too_full_expect_exit_1(tmp_path: Path) -> None:
    done = run("doctor", "least_free_gib=1e9", cwd=tmp_path)
    assert done.returncode == 1
    assert "too little" in done.stdout


def test_config_dir_adds_recipes_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nleast_free_gib: 0.5\n")
    assert main(["doctor", "--config-dir", str(tmp_path), "experiment=mine", "--cfg"]) == 0
    assert "least_free_gib: 0.5" in capsys.readouterr().out
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\nleast_fre_gib: 0.5\n")
    assert main(["doctor", "--config-dir", str(tmp_path), "experiment=typo"]) == 2
    assert "did you mean 'least_free_gib'?" in capsys.readouterr().err
