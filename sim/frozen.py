"""What keeps the test split as it was: one hash of its sources, one of the objects and textures they make.

The sources alone do not say what the arm meets: test families use builders that other splits share, such as
`urdf` and `families_train`. So some instances of every family, and the test textures, are hashed as well, in
a form that is the same on every machine: numbers as multiples of a step that arithmetic's last digits do not
reach, and textures by the mean colours of their blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from ..core.files import write_text
from ..perception.frame import FloatArray
from .objects import Category, ObjectModel
from .registry import own_families
from .textures import BANK_SIZE, texture

FROZEN_FILE = Path(__file__).with_name("families_test.sha256")
# Instances hashed of every family.
INSTANCES = 8
# Of metres, radians, kilograms and the like; and of inertia, relative to its trace.
STEP, INERTIA_STEP = 1e-6, 1e-3
# Designed numbers are round; shifted by this share of a step, none lies where rounding could go both ways.
SHIFT = 0.217
# Blocks a side in which a texture's mean colours are taken, and their step in brightness (of 255).
BLOCKS, COLOUR_STEP = 4, 4.0


def frozen() -> dict[str, str]:
    """The hashes that `families_test.sha256` holds, by what they are of."""
    lines = FROZEN_FILE.read_text("utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def current() -> dict[str, str]:
    """The hashes of the present code, by what they are of."""
    return {"sources": sources_hash(), "objects": objects_hash()}


def freeze() -> None:
    """Make the present test split the frozen one. Every figure measured with an earlier one is void."""
    write_text(FROZEN_FILE, "".join(f"{digest}  {name}\n" for name, digest in current().items()))


def sources_hash() -> str:
    """SHA-256 over the sources of the test families, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "families_test").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def objects_hash() -> str:
    """SHA-256 over some instances of every test family, then over the test textures."""
    digest = hashlib.sha256()
    for item in (*_objects(), *_textures()):
        digest.update(json.dumps(item, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _objects() -> Iterator[object]:
    for category in get_args(Category):
        for family in own_families(category, "test"):
            for seed in range(INSTANCES):
                yield [seed, canonical(family.sample(np.random.default_rng(seed)))]


def _textures() -> Iterator[object]:
    for index in range(BANK_SIZE):
        image = texture("test", index).astype(np.float64)
        side = len(image) // BLOCKS
        means = image.reshape(BLOCKS, side, BLOCKS, side, 3).mean(axis=(1, 3))
        yield [index, _steps(means, COLOUR_STEP)]


def canonical(model: ObjectModel) -> dict[str, object]:
    """An object as JSON values that do not depend on the machine; meshes by their content."""
    meshes = [Path(model.asset_dir) / name for name in _mesh_names(model)]
    return {
        "category": model.category,
        "family": model.family,
        "urdf": _element(ElementTree.fromstring(model.urdf)),  # noqa: S314 - made here
        "meshes": [hashlib.sha256(path.read_bytes()).hexdigest() for path in meshes],
        "keypoints": {
            name: [point.link, *_steps(point.xyz)] for name, point in sorted(model.keypoints.items())
        },
        "scalars": {name: _steps([value]) for name, value in sorted(model.scalars.items())},
        "friction": _steps([model.friction]),
        "colours": {link: _steps(rgba) for link, rgba in sorted(model.colours.items())},
    }


def _mesh_names(model: ObjectModel) -> list[str]:
    root = ElementTree.fromstring(model.urdf)  # noqa: S314 - made here
    return [mesh.get("filename", "") for mesh in root.iter("mesh")]


def _element(element: ElementTree.Element) -> list[object]:
    """A URDF element: its tag, its attributes and what is in it."""
    if element.tag == "inertial":
        return ["inertial", _inertial(element)]
    attributes = {name: _value(text) for name, text in sorted(element.attrib.items())}
    return [element.tag, attributes, [_element(child) for child in element]]


def _inertial(element: ElementTree.Element) -> list[int]:
    """Mass, centre and inertia about it; principal axes alone would not be unique for round things."""

    def numbers(tag: str, *names: str) -> FloatArray:
        found: Mapping[str, str] = next(iter(element.iter(tag))).attrib
        return np.array([float(number) for name in names for number in found[name].split()])

    moments = numbers("inertia", "ixx", "iyy", "izz")
    turn = Rotation.from_euler("xyz", numbers("origin", "rpy")).as_matrix()
    upright = (turn @ np.diag(moments) @ turn.T)[np.triu_indices(3)]
    place = _steps([*numbers("mass", "value"), *numbers("origin", "xyz")])
    return [*place, *_steps([np.log(moments.sum()), *upright / moments.sum()], INERTIA_STEP)]


def _value(text: str) -> object:
    """An attribute: numbers as steps, anything else as it is."""
    try:
        return _steps([float(number) for number in text.split()])
    except ValueError:
        return text


def _steps(values: object, step: float = STEP) -> list[int]:
    """Numbers of any shape as whole multiples of a step."""
    return np.rint(np.asarray(values, dtype=np.float64).ravel() / step + SHIFT).astype(np.int64).tolist()
