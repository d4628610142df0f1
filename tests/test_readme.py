"""What the README shows works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import kalie
from kalie.cli.main import parse

ROOT = Path(kalie.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")


def test_python_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / done.stdout.splitlines()[-1]).read_text())
    assert summary["rows"][0]["n"] == 50


def test_command_lines_parse() -> None:
    lines = re.findall(r"^ {4}kalie (.*)$", README, flags=re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        parse(shlex.split(line, comments=True))


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(
        r"^ {4}make (\S+)", README + (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    ):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_folders_and_links_exist() -> None:
    for folder in re.findall(r"`(\w+)/`", README.partition("## Layout")[2].partition("## More")[0]):
        assert (ROOT / folder).is_dir(), folder
    for link in re.findall(r"\]\((\S+?)\)", README):
        assert (ROOT / link).exists(), link
