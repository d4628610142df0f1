"""Objects that a user brings: a Python file with families, or a folder of URDF or OBJ files with keypoints.

A folder holds one `<name>.json` per object:

    {"category": "brush", "split": "test", "urdf": "broom.urdf",
     "keypoints": {"grasp": {"xyz": [0, 0, 0.02]}, "function": {"xyz": [0.1, 0, 0.02], "link": "head"}},
     "scalars": {"grasp_width": 0.02}, "friction": 1.0, "resting_quaternions": [[0, 0, 0, 1]]}

Keypoints are metres in the frame of a link ("base" is the root link). Instead of `urdf`, `obj` names a mesh
in metres; then `mass` (kilograms) may be given. Every file named must lie in the folder.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args
from xml.etree import ElementTree

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .objects import Category, LinkPoint, ObjectFamily, ObjectModel, Split
from .urdf import Link, Part, urdf_text

Point = tuple[float, float, float]
# What a category's tasks read from a model; an object without them is refused when it is loaded.
NEEDED_KEYPOINTS: Mapping[Category, tuple[str, ...]] = {"brush": ("grasp", "function"), "trash": ("target",)}
NEEDED_SCALARS: Mapping[Category, tuple[str, ...]] = {
    "brush": ("grasp_width", "handle_length", "head_depth", "head_width"),
    "trash": ("height", "radius"),
    "clutter": ("radius",),
}


class UserObjectError(ValueError):
    """A user's object cannot be used; the message names the file and the field."""


class _KeypointEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    xyz: Point
    link: str = "base"


class _ObjectEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    category: Category
    split: Split
    urdf: str = ""
    obj: str = ""
    mass: float = Field(default=0.1, gt=0)
    keypoints: dict[str, _KeypointEntry]
    scalars: dict[str, float] = {}
    friction: float = Field(default=1.0, ge=0)
    resting_quaternions: list[tuple[float, float, float, float]] = [(0.0, 0.0, 0.0, 1.0)]


@dataclass(frozen=True)
class UserFamily:
    """A family of one object read from a folder.

    Attributes:
        model: the object.
        split: who may use it.
    """

    model: ObjectModel
    split: Split

    @property
    def name(self) -> str:
        """The name of its JSON file."""
        return self.model.family

    @property
    def category(self) -> Category:
        """What it is for."""
        return self.model.category

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """The one object; draws nothing."""
        return self.model


def load_families(path: Path) -> tuple[ObjectFamily, ...]:
    """Families from a Python file (its `FAMILIES`) or a folder of objects.

    A Python file is run, so load only files that you trust; a folder is only read.

    Raises:
        UserObjectError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".py" and path.is_file():
        return _from_module(path)
    raise UserObjectError(f"{path}: expected a Python file or a folder of objects")


def _from_module(path: Path) -> tuple[ObjectFamily, ...]:
    name = f"kalie_user_objects_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserObjectError(f"{path}: not importable as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    families = vars(module).get("FAMILIES")
    if not isinstance(families, Iterable):
        raise UserObjectError(f"{path}: defines no FAMILIES")
    return tuple(_checked(path, family) for family in families)


def _checked(path: Path, family: ObjectFamily) -> ObjectFamily:
    """Draw one instance, so that a broken family is refused before a benchmark starts."""
    try:
        _check_model(path, family.sample(np.random.default_rng(0)))
        known = family.category in get_args(Category) and family.split in get_args(Split)
    except AttributeError as error:
        raise UserObjectError(f"{path}: {family!r} is no ObjectFamily: {error}") from None
    if not known:
        raise UserObjectError(f"{path}: {family.name}: unknown category or split")
    return family


def _from_folder(folder: Path) -> tuple[ObjectFamily, ...]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserObjectError(f"{folder}: holds no object, i.e. no *.json file")
    return tuple(_read_object(folder.resolve(), file) for file in files)


def _read_object(folder: Path, file: Path) -> UserFamily:
    try:
        entry = _ObjectEntry.model_validate_json(_inside(folder, file.name).read_bytes())
    except (ValidationError, json.JSONDecodeError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        field = ".".join(str(part) for part in detail["loc"]) or "JSON"
        raise UserObjectError(f"{file}: {field}: {detail['msg']}") from None
    if bool(entry.urdf) == bool(entry.obj):
        raise UserObjectError(f"{file}: give either urdf or obj")
    text = _read_urdf(folder, entry.urdf) if entry.urdf else _mesh_urdf(folder, file.stem, entry)
    points = {name: LinkPoint(point.xyz, point.link) for name, point in entry.keypoints.items()}
    model = ObjectModel(
        entry.category,
        file.stem,
        text,
        points,
        entry.scalars,
        asset_dir=str(folder),
        friction=entry.friction,
        resting_quaternions=tuple(entry.resting_quaternions),
    )
    _check_model(file, model)
    return UserFamily(model, entry.split)


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder. A path that leaves it, by itself or through a link, is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise UserObjectError(f"{folder / name}: lies outside the object folder")
    if not path.is_file():
        raise UserObjectError(f"{folder / name}: no such file")
    return path


def _read_urdf(folder: Path, name: str) -> str:
    path = _inside(folder, name)
    try:
        root = ElementTree.fromstring(path.read_text())  # noqa: S314 - entities are refused below
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UserObjectError(f"{path}: not a URDF: {error}") from None
    for mesh in root.iter("mesh"):
        _inside(folder, mesh.get("filename", ""))
    for joint in root.iter("joint"):
        if joint.get("type") in ("revolute", "prismatic") and joint.find("limit") is None:
            raise UserObjectError(f"{path}: joint {joint.get('name')!r} has no <limit>")
    return ElementTree.tostring(root, encoding="unicode")


def _mesh_urdf(folder: Path, name: str, entry: _ObjectEntry) -> str:
    mesh = _inside(folder, entry.obj)
    rows = [line.split()[1:4] for line in mesh.read_text().splitlines() if line.startswith("v ")]
    try:
        extent = np.ptp(np.array(rows, dtype=np.float64).reshape(-1, 3), axis=0)
    except ValueError as error:
        raise UserObjectError(f"{mesh}: not an OBJ file: {error}") from None
    size = cast(Point, tuple(float(edge) for edge in extent))
    part = Part("mesh", (1.0, 1.0, 1.0), mass=entry.mass, mesh=entry.obj, extent=size)
    return urdf_text(name, [Link("base", (part,))])


def _check_model(path: Path, model: ObjectModel) -> None:
    for name in NEEDED_KEYPOINTS.get(model.category, ()):
        if name not in model.keypoints:
            raise UserObjectError(f"{path}: keypoints.{name}: missing, a {model.category} needs it")
    for name in NEEDED_SCALARS.get(model.category, ()):
        if name not in model.scalars:
            raise UserObjectError(f"{path}: scalars.{name}: missing, a {model.category} needs it")
    links = {link.get("name") for link in ElementTree.fromstring(model.urdf).iter("link")}  # noqa: S314
    for name, point in model.keypoints.items():
        if point.link != "base" and point.link not in links:
            raise UserObjectError(f"{path}: keypoints.{name}: the URDF has no link {point.link!r}")
