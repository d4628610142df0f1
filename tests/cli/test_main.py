"""The command: fast help, strict arguments, Hydra underneath."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kalie.conf
from kalie.cli._verb import Verb, quoted
from kalie.cli.main import load_verb, main, parse, split_verb, verb_line, verb_names, verbs_of
from kalie.core.config import ConfigError, defaults_of, flatten
from kalie.sim.benchmark import ARMS

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
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples" in shown
    for key in load_verb(name).config.__dataclass_fields__:
        assert key in shown


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_s_keys_are_explained(name: str) -> None:
    from kalie.cli._help import field_docs
    from kalie.core.config import TARGET, defaults_of, flatten

    verb = load_verb(name)
    first = {group: next(iter(choices.values())) for group, choices in verb.groups.items()}
    others = [{**first, group: cls} for group, choices in verb.groups.items() for cls in choices.values()]
    for chosen in (first, *others):
        nodes = defaults_of(verb.config) | {group: defaults_of(cls) for group, cls in chosen.items()}
        keys = {key for key in flatten(nodes) if not key.endswith(TARGET)}
        assert not (keys | set(verb.config.__dataclass_fields__)) - set(field_docs(verb.config, chosen))


def _fitting(verb: Verb, group: str, choice: str) -> list[str]:
    """What a choice of `kalie train` goes together with."""
    if "env" not in verb.groups:
        return []
    if choice == "keypoint_base":
        return ["algorithm=ppo", "env=manipulation"]
    fitting = {
        "model": ["env.rendering=text"],
        "env": ["warm_start.when=never"],  # Not every environment has a demonstrator.
        # A server is sent an adapter, and no images.
        "generator": ["model=tiny_lm", "env.rendering=text", "model.lora_rank=4"],
        "executor": ["algorithm=reinforce"],  # Workers collect whole episodes.
    }
    return fitting.get(group, [])


@pytest.mark.parametrize("name", VERBS)
def test_every_example_and_every_choice_is_a_sound_config(name: str) -> None:
    import shlex

    verb = load_verb(name)
    schema = verb.schema(name)
    for example in verb.examples:
        options = parse(split_verb(shlex.split(example)[1:])[1])
        for job in schema.combinations(verb.overrides(options.overrides)):
            schema.compose(job)
    required = split_verb(shlex.split(verb.examples[0])[1:])[1]
    for group in verb.groups:
        kept = [item for item in required if not item.startswith(f"{group}")]
        if group == "segmenter" and "model" in verb.groups:
            kept.append("model=moka")  # The one model that uses it.
        for choice in schema.choices(group):
            try:
                schema.compose([*kept, *_fitting(verb, group, choice), f"{group}={choice}"])
            except ConfigError as error:
                # A choice may need keys of its own, such as a server's address; nothing else may be wrong.
                assert re.match(r"[\w.]+: a value is required", str(error))  # noqa: PT017


@pytest.mark.parametrize("name", VERBS)
def test_when_any_key_of_any_verb_is_misspelt_expect_exit_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in load_verb(name).config.__dataclass_fields__:
        assert main([*name.split(), f"{key}zz=1"]) == 2
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


@dataclass(frozen=True)
class SayConfig:
    """Keys of a verb that takes a text."""

    text: str
    loud: bool = False


SAY = Verb(SayConfig, lambda _: None, examples=(), positional="text")
AWKWARD = st.text(
    st.one_of(st.sampled_from("\\\"'${}:,=[]()~+-#%!& \t\nab1?."), st.characters(exclude_categories=["Cs"]))
)


@given(AWKWARD.filter(lambda text: text != "???"))
@settings(deadline=None, max_examples=200)
def test_any_text_survives_hydra_s_quotes(text: str) -> None:
    assert SAY.schema("say").compose([f"text={quoted(text)}"]) == SayConfig(text)


@pytest.mark.parametrize(
    "text",
    ["sweep it", "a=${b} is x", "null", "[1,2]", "first this, then that", "", "x = 3", "${oc.env:HOME}"],
)
def test_a_text_needs_no_key(text: str) -> None:
    overrides = SAY.overrides(["loud=true", text])
    assert SAY.schema("say").compose(overrides) == SayConfig(text, loud=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sweep", "it"], "text: expected one text, in quotes, got 2"),
        (["sweep it", "text=other"], "text: expected one text, in quotes, got 2"),
        (["lowd=true", "sweep it"], "lowd: no such key; did you mean 'loud'?"),
        ([], "text: a value is required"),
    ],
)
def test_when_a_text_is_doubled_or_a_key_misspelt_expect_it_named(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        SAY.schema("say").compose(SAY.overrides(arguments))


@pytest.mark.parametrize("arguments", [["ros"], ["ros", "--help"], ["ros", "-h"], ["ros", "help"]])
def test_verbs_of_two_words_are_listed_by_their_first(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "ros up" in verbs_of("ros")
    for name in VERBS:
        assert (f"{name} {verb_line(name)}" in shown) == name.startswith("ros ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ros", "sned"], "no verb 'ros sned'; did you mean 'ros send'?"),
        (["rso"], "no verb 'rso'"),
        (["ros", "up", "mode=rael"], "ros up: mode=rael: input should be 'sim', 'real' or 'perception_only'"),
        (["ros", "up", "mode=real", "task=sweep"], "task=sweep: only mode=sim has a scene"),
        (["ros", "up", "robot=xarm6"], "robot=xarm6: mode=sim simulates a Panda"),
        (["ros", "up", "patience.healthy=0"], "patience: healthy=0.0 must be positive"),
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


def test_every_recipe_is_a_sound_config_of_the_verb_it_names() -> None:
    folder = Path(kalie.conf.__file__).parent / "experiment"
    recipes = {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*.yaml")
    }
    assert {"paper", "laptop", "rl4vlm/number_line"} <= recipes.keys()
    taken = {
        verb: load_verb(verb).schema(verb).recipes() for verb in ("bench", "train", "doctor", "eval", "view")
    }
    assert taken["doctor"] == taken["eval"] == taken["view"] == []
    for name, text in recipes.items():
        named = re.findall(r"kalie (\w+) (?:--multirun )?experiment=([\w/]+)", text)
        assert named, f"{name}: its comment does not say which verb takes it"
        assert named[0][1] == name
        for verb, recipe in named:
            assert recipe in taken[verb]


def test_the_recipes_of_the_results_page_hold_every_arm() -> None:
    bench = load_verb("bench").schema("bench")
    main_arms, ablations = (bench.compose([f"experiment={name}"]) for name in ("paper", "ablations"))
    assert (main_arms.task, main_arms.seeds, main_arms.episodes) == ("all", 5, 20)
    assert ablations.seeds == 3
    assert {*main_arms.arms, *ablations.arms} == set(ARMS)


def test_help_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    assert "experiment=NAME): ablations, laptop, paper" in " ".join(capsys.readouterr().out.split())


def test_help_shows_the_keys_of_the_choices_that_were_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "algorithm=archer", "algorithm.capacity=77", "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"algorithm\.capacity +77 ", shown)
    assert "algorithm.thought_weight" not in shown
    assert main(["train", "algorithm=archr", "--help"]) == 2
    assert "did you mean 'archer'?" in capsys.readouterr().err


def test_config_dir_adds_recipes_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nleast_free_gib: 0.5\n")
    assert main(["doctor", "--config-dir", str(tmp_path), "experiment=mine", "--cfg"]) == 0
    assert "least_free_gib: 0.5" in capsys.readouterr().out
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\nleast_fre_gib: 0.5\n")
    assert main(["doctor", "--config-dir", str(tmp_path), "experiment=typo"]) == 2
    assert "did you mean 'least_free_gib'?" in capsys.readouterr().err
