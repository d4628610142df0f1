"""The `kalie` command: `kalie VERB group=choice key=value`.

To add a verb, write one module, `cli/<verb>.py`; nothing else changes. An underscore makes two words of it:
`cli/ros_up.py` is `kalie ros up`. The first line of its docstring is the verb's line in `kalie --help`; its
`VERB` says the rest:

    '''Measure how far a model's keypoints are from the labels.'''

    @dataclass(frozen=True)
    class EvaluateConfig:
        '''Keys of `kalie evaluate`; the help page shows what its section "Attributes" says of each.'''

        data: Path                                            # no default: the user must give it
        model: HeatmapConfig | TextConfig = HeatmapConfig()   # a group, see VERB
        run: RunConfig = RunConfig()
        seed: int = 0

        def __post_init__(self) -> None:                      # ranges, unsupported combinations
            if self.seed < 0:
                raise ValueError(f"seed={self.seed} must not be negative")

    def main(cfg: EvaluateConfig) -> None:
        with Run.open("evaluate", cfg.run, cfg, seeds=[cfg.seed]) as run:
            with run.stage("predict"):
                ...
            run.add_row("pck_at_5_percent", value, low, high, n, task="sweep")

    VERB = Verb(EvaluateConfig, main, examples=("kalie evaluate data=photos", "..."),
                groups={"model": {"heatmap": HeatmapConfig, "text": TextConfig}})

Verbs are imported only when they are called, so they may import what they need; they stay thin, the work is
done by the packages. Modules whose name starts with an underscore are not verbs. Group choices beyond the
dataclasses are YAML files, `conf/<group>/<choice>.yaml`; whole recipes are `conf/experiment/<name>.yaml`, and
what suits choices that meet `conf/tuned/`.

Exit codes: 0 done; 1 the work failed (one line, or a traceback with HYDRA_FULL_ERROR=1); 2 the command or its
config is wrong, and nothing was done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ._verb import Verb

USAGE = "kalie VERB [group=choice ...] [key=value ...] [--help] [--multirun] [--cfg] [--config-dir DIR]"
HELP = ("--help", "-h", "help")


class UsageError(ValueError):
    """A command line that names no verb or an unknown flag."""


class _Parser(argparse.ArgumentParser):
    """The flags beside the overrides; a mistake raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; usage: {USAGE}")


def verb_names() -> list[str]:
    """Every verb, by its module's name; nothing is imported."""
    here = str(Path(__file__).parent)
    names = [module.name for module in pkgutil.iter_modules([here])]
    return sorted(name.replace("_", " ") for name in names if name != "main" and not name.startswith("_"))


def verb_line(name: str) -> str:
    """The first docstring line of a verb's module, read without importing it."""
    source = Path(__file__).with_name(f"{name.replace(' ', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def verbs_of(group: str) -> list[str]:
    """The verbs of two words that begin with `group`; none when there is no such group."""
    return [name for name in verb_names() if name.startswith(f"{group} ")]


def split_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """A command line's verb, of one word or two, and the arguments after it."""
    words = 2 if verbs_of(argv[0]) else 1
    return " ".join(argv[:words]), list(argv[words:])


def listed_verbs(argv: Sequence[str]) -> list[str]:
    """The verbs that a command line without a verb wants to see: all, or those of a group; none otherwise."""
    words = [word for word in argv if word not in HELP]
    if not words or argv[0] in HELP:
        return verb_names()
    return verbs_of(words[0]) if len(words) == 1 else []


def load_verb(name: str) -> Verb:
    """Import a verb.

    Raises:
        UsageError: there is no such verb; the message names the nearest.
    """
    if name not in verb_names():
        from ..core.config import nearest

        raise UsageError(f"no verb {name!r}{nearest(name, verb_names())}")
    return importlib.import_module(f".{name.replace(' ', '_')}", __package__).VERB


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Split a verb's command line into flags and Hydra overrides.

    Raises:
        UsageError: an unknown flag.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("--config-dir", type=Path)
    parser.add_argument("overrides", nargs="*")
    namespace = parser.parse_intermixed_args(list(arguments))
    if namespace.config_dir:
        namespace.overrides.append(f"hydra.searchpath=['{namespace.config_dir.resolve()}']")
    return namespace


def run_verb(name: str, arguments: Sequence[str]) -> int:
    """Check the whole config (every job of a multirun), then run the verb through Hydra."""
    options = parse(arguments)
    verb = load_verb(name)
    options.overrides = verb.overrides(options.overrides)
    schema = verb.schema(name)
    if options.help:
        from ._help import print_verb_help

        print_verb_help(name, verb_line(name), verb, options.overrides)
        return 0
    jobs = schema.combinations(options.overrides) if options.multirun else [options.overrides]
    configs = [schema.compose(job) for job in jobs]
    if options.cfg:
        from ._help import print_config

        print_config(configs[0])
        return 0
    return _run_through_hydra(name, options)


def _run_through_hydra(name: str, options: argparse.Namespace) -> int:
    """Hand the job to Hydra, whose launcher runs it here or, for a multirun, wherever it is configured to.

    A job whose user can mend its error does not stop the others of a multirun; the first such error is raised
    after them. Hydra does not see it, because it would print lines of its own beside the one to be read.
    """
    import hydra
    from omegaconf import DictConfig

    from ..core.config import CONFIG_MODULE, plain

    codes: list[int] = []
    failures: list[Exception] = []

    def job(composed: DictConfig) -> None:
        set_up_logging()
        verb = load_verb(name)
        try:
            codes.append(verb.main(verb.schema(name).build(plain(composed))) or 0)
        except (ValueError, OSError, ImportError) as error:
            failures.append(error)

    arguments = sys.argv
    sys.argv = [f"kalie {name}", *options.overrides, *(["--multirun"] if options.multirun else [])]
    try:
        config_name = load_verb(name).schema(name).name
        hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=config_name, version_base="1.3")(job)()
    finally:
        sys.argv = arguments
    if failures:
        raise failures[0]
    return max(codes, default=0)


def set_up_logging() -> None:
    """Log lines go to the terminal, once."""
    from rich.logging import RichHandler

    handler = RichHandler(show_path=False, show_level=True, log_time_format="%H:%M:%S")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `kalie` command and return its exit code."""
    # Our own bars are enough: loading a model of 5 MB needs none.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    argv: list[str] = list(sys.argv[1:] if arguments is None else arguments)
    if names := listed_verbs(argv):
        from ._help import print_help

        print_help(USAGE, {name: verb_line(name) for name in names})
        return 0
    return _run_reporting(argv, wants_traceback=os.environ.get("HYDRA_FULL_ERROR") == "1")


def _run_reporting(argv: list[str], wants_traceback: bool) -> int:
    """Run, with one line for every error that a user can mend; a bug keeps its traceback."""
    from ._ros_env import StartAnew

    # Makes Hydra raise what it caught, instead of leaving the process with a message of its own.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    name, rest = split_verb(argv)
    try:
        return run_verb(name, rest)
    except StartAnew:
        pass  # below, when this function has left the environment as it found it
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (ValueError, OSError, ImportError) as error:
        if wants_traceback:
            raise
        return _fail(f"{name}: {_one_line(error)}", 2 if _is_usage(error) else 1)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = str(int(wants_traceback))
    return os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very command


def _is_usage(error: Exception) -> bool:
    from ..core.config import ConfigError

    return isinstance(error, ConfigError | UsageError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"kalie: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
