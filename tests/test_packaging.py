"""What is installed is what is in the tree."""

from __future__ import annotations

import fnmatch
import functools
import importlib.resources
import tomllib
from pathlib import Path

import pytest

import kalie

ROOT = Path(kalie.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_PACKAGES = {"tests", "docs", "examples", "benchmarks", "ros_ws", "build", "dist", "outputs"}


@functools.cache
def packages_in_tree() -> tuple[str, ...]:
    found = ["kalie"]
    for folder in ROOT.iterdir():
        if folder.is_dir() and folder.name not in NOT_PACKAGES and not folder.name.startswith("."):
            for init in folder.rglob("__init__.py"):
                found.append(".".join(("kalie", *init.parent.relative_to(ROOT).parts)))
    return tuple(sorted(found))


def test_packages_list_is_the_tree() -> None:
    assert tuple(sorted(PROJECT["tool"]["setuptools"]["packages"])) == packages_in_tree()


def test_packages_are_at_most_two_levels_deep() -> None:
    assert all(name.count(".") <= 2 for name in packages_in_tree())


def data_files() -> list[Path]:
    """Files inside packages that are not Python: each must be shipped."""
    found = []
    for name in packages_in_tree()[1:]:
        folder = ROOT.joinpath(*name.split(".")[1:])
        nested = {
            ROOT.joinpath(*other.split(".")[1:])
            for other in packages_in_tree()
            if other.startswith(name + ".")
        }
        for path in folder.rglob("*"):
            hidden = "__pycache__" in path.parts or path.name.startswith(".")
            if path.is_file() and path.suffix != ".py" and not hidden and not nested & set(path.parents):
                found.append(path.relative_to(ROOT))
    return found


def test_every_data_file_is_shipped() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for path in data_files():
        package = max(
            (name for name in patterns if path.is_relative_to(_folder(name))), key=len, default=None
        )
        assert package is not None, f"{path} is in no package with package-data"
        inside = path.relative_to(_folder(package)).as_posix()
        globs = [pattern.replace("**/", "*") for pattern in patterns[package]]
        assert any(fnmatch.fnmatch(inside, glob) for glob in globs), f"{path} is not shipped"


def _folder(package: str) -> Path:
    return Path(*package.split(".")[1:])


@pytest.mark.parametrize(
    ("package", "name"), [("kalie.conf", "logger/wandb.yaml"), ("kalie.core", "templates/report.html.j2")]
)
def test_data_is_found_where_code_looks_for_it(package: str, name: str) -> None:
    assert importlib.resources.files(package).joinpath(name).is_file()


def test_command_is_declared() -> None:
    assert PROJECT["project"]["scripts"] == {"kalie": "kalie.cli.main:main"}


def test_base_install_needs_no_torchvision_and_no_cuda() -> None:
    needed = " ".join(PROJECT["project"]["dependencies"])
    assert "torchvision" not in needed
    assert "cuda" not in needed
    assert "nvidia" not in needed
