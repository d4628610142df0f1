"""Check this computer: versions, threads, accelerator, renderer, disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..core.resources import usable_cores
from ._verb import Verb

LIBRARIES = ("torch", "transformers", "accelerate", "hydra-core", "pybullet", "pin", "ruckig", "av", "numpy")
EXTRAS = {
    "diffusion": "diffusers",
    "sam": "segment_anything",
    "ros": "rclpy",
    "web": "playwright",
    "ray": "ray",
}


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
        if self.least_free_gib < 0:
            raise ValueError(f"least_free_gib={self.least_free_gib} must not be negative")


def versions() -> dict[str, str]:
    """Python's and the libraries' versions; "missing" for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


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
    for extra, module in EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        table.add_row(f"extra: {extra}", "installed" if present else f"pip install 'kalie\\[{extra}]'")
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
