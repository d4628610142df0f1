"""Check this computer: versions, threads, accelerator, renderer, disk."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.ranges import at_least
from ..core.resources import usable_cores
from ._ros_env import find_ros
from ._verb import Verb

LIBRARIES = ("torch", "transformers", "accelerate", "hydra-core", "pybullet", "pin", "ruckig", "av", "numpy")
PACKAGES = {"diffusion": "diffusers", "web": "playwright", "ray": "ray"}
"""Extras that work where their package can be imported; `sam` and `ros` need more."""


@dataclass(frozen=True)
class DoctorConfig:
    """Keys of `kalie doctor`.

    Attributes:
        outputs: the folder whose disk is checked.
        least_free_gib: free space that a full run needs, in GiB.
    """

    outputs: Path = Path("outputs")
    least_free_gib: float = 2.0

    def __post_init__(self) -> None:
        at_least(self, 0, "least_free_gib")


def versions() -> dict[str, str]:
    """Python's and the libraries' versions; "missing" for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def extras() -> dict[str, str]:
    """Of every extra "installed" where what uses it can start, else what is wrong."""
    checks: dict[str, Callable[[], object]] = {
        **{extra: partial(_import, extra, package) for extra, package in PACKAGES.items()},
        "sam": _import_sam,
        "ros": find_ros,
    }
    found: dict[str, str] = {}
    for extra, check in sorted(checks.items()):
        try:
            check()
        except ImportError as error:
            found[extra] = str(error)
        else:
            found[extra] = "installed"
    return found


def _import(extra: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"pip install 'kalie[{extra}]'")
    importlib.import_module(package)


def _import_sam() -> None:
    """The segmenter's own check; whether the package is there is asked first, because that takes no torch."""
    if importlib.util.find_spec("segment_anything") is None:
        raise ImportError("pip install 'kalie[sam]', and torchvision of the same version and build as torch")
    from ..perception.sam import import_segment_anything

    import_segment_anything()


def renderer() -> str:
    """Which renderer PyBullet's camera will use here."""
    import pybullet

    client = pybullet.connect(pybullet.DIRECT)
    try:
        pixels = pybullet.getCameraImage(8, 8, renderer=pybullet.ER_TINY_RENDERER, physicsClientId=client)
        return "TinyRenderer (software)" if pixels[0] == 8 else "none"
    finally:
        pybullet.disconnect(client)


def threads() -> str:
    """Torch's threads and this process's cores."""
    import torch

    return f"{torch.get_num_threads()} of {usable_cores()} cores"


def accelerator() -> str:
    """The GPU that torch sees."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none (CPU)"


def free_gib(folder: Path) -> float:
    """Free disk space in GiB where `folder` is or would be made."""
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    return shutil.disk_usage(existing).free / 2**30


def main(cfg: DoctorConfig) -> int:
    """Print what was found; 1 when a library is missing or the disk is too full."""
    found = versions()
    free = free_gib(cfg.outputs)
    missing = [name for name, version in found.items() if version == "missing"]
    table = Table(box=None, show_header=False)
    for name, version in found.items():
        table.add_row(name, version)
    for extra, state in extras().items():
        table.add_row(f"extra: {extra}", escape(state))
    if "torch" not in missing:
        table.add_row("torch threads", threads())
        table.add_row("accelerator", accelerator())
    if "pybullet" not in missing:
        table.add_row("renderer", renderer())
    table.add_row("disk", f"{free:.1f} GiB free" + (" (too little)" if free < cfg.least_free_gib else ""))
    Console(highlight=False).print(table)
    return int(bool(missing) or free < cfg.least_free_gib)


VERB = Verb(
    DoctorConfig, main, examples=("kalie doctor", "kalie doctor outputs=/data/runs least_free_gib=20")
)
