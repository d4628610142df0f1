"""`kalie doctor` says "installed" only of what can start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kalie.cli.doctor import extras
from kalie.cli.main import main

Packages = Callable[[str, str], None]
BROKEN = {
    "segment_anything": "import torchvision_that_fits_no_torch",
    "playwright": "from greenlet_that_is_missing import greenlet",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Writes a module that can be found and imported, by name and source."""
    names = ("segment_anything", "playwright", "ray")
    monkeypatch.syspath_prepend(tmp_path)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("extra", "package"), [("sam", "segment_anything"), ("web", "playwright")])
def test_when_an_extra_s_package_cannot_be_imported_expect_the_reason(
    packages: Packages, extra: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packages(package, BROKEN[package])
    missing = BROKEN[package].split()[1]
    assert f"No module named '{missing}'" in extras()[extra]
    assert main(["doctor", "least_free_gib=0"]) == 0
    assert missing in "".join(capsys.readouterr().out.split())


def test_when_torchvision_is_of_another_build_expect_that_said(packages: Packages) -> None:
    packages("segment_anything", "raise RuntimeError('operator torchvision::nms does not exist')")
    assert "torchvision::nms does not exist" in extras()["sam"]
    assert "torchvision of the same version and build as torch" in extras()["sam"]


def test_an_extra_that_can_be_imported_is_installed(packages: Packages) -> None:
    packages("segment_anything", "")
    packages("ray", "")
    found = extras()
    assert (found["sam"], found["ray"]) == ("installed", "installed")


def test_when_an_extra_is_not_installed_expect_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    found = extras()
    assert found["web"] == "pip install 'kalie[web]'"
    assert found["sam"].startswith("pip install 'kalie[sam]', and torchvision")
