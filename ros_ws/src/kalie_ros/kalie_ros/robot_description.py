"""The URDF that a robot publishes, as a file that the kinematics can read."""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

_MESH = re.compile(r'filename="(package|file)://([^"]+)"')


class DescriptionError(ValueError):
    """A robot description cannot be used; the message names the mesh or package."""


def write_urdf(text: str, folder: Path) -> Path:
    """Write a URDF with absolute mesh paths into `folder`, and return the file.

    Raises:
        DescriptionError: it names a package that is not installed, or a mesh that is not there.
    """
    path = folder / "robot.urdf"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_MESH.sub(lambda found: f'filename="{_mesh(found[1], found[2])}"', text), "utf-8")
    return path


def _mesh(scheme: str, rest: str) -> Path:
    if scheme == "file":
        path = Path("/" + rest.lstrip("/"))
    else:
        package, _, inside = rest.partition("/")
        try:
            path = Path(get_package_share_directory(package)) / inside
        except (PackageNotFoundError, ValueError) as error:
            raise DescriptionError(f"robot_description: package {package!r} is not installed") from error
    if not path.exists():
        raise DescriptionError(f"robot_description: no mesh {path}")
    return path
