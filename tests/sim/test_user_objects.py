from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import kalie
from kalie.sim.episode import act, oracle
from kalie.sim.objects import Category, LinkPoint, ObjectFamily, ObjectModel, Split
from kalie.sim.registry import TASK_NAMES, Registry, own_families, task
from kalie.sim.resting import _pose, resting
from kalie.sim.staging import stage
from kalie.sim.task import TaskName
from kalie.sim.urdf import Link, Part, Vector, roll_pitch_yaw, urdf_text
from kalie.sim.user_objects import NEEDS, UserObjectError, _check_model, load_families
from kalie.sim.world import World, yaw_quaternion

EXAMPLES = Path(kalie.__file__).parent / "examples" / "objects"
FAMILY = """
from kalie.sim.objects import ObjectModel
class Odd:
    name, category, split = "odd", "clutter", "test"
    def sample(self, rng):
        {}
FAMILIES = (Odd(),)
"""
PAGE = (EXAMPLES / "README.md").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "objects"
    shutil.copytree(EXAMPLES, copy)
    return copy


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _documented() -> Mapping[str, tuple[set[str], set[str]]]:
    """Keypoints and scalars by category, as the page's table lists them."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \|(.*?)\|(.*?)\|$", PAGE, flags=re.MULTILINE)
    return {
        row[0]: (set(re.findall(r"`(\w+)`", row[1])), set(re.findall(r"`(\w+)`", row[2]))) for row in rows
    }


@dataclass(frozen=True)
class _Bare:
    """A family of the project whose objects have only what the page says that they need."""

    inner: ObjectFamily
    split: Split = "train"

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def category(self) -> Category:
        return self.inner.category

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        model = self.inner.sample(rng)
        points, scalars = _documented()[self.category]
        return replace(
            model,
            keypoints={name: point for name, point in model.keypoints.items() if _numbered(name) in points},
            scalars={name: value for name, value in model.scalars.items() if _numbered(name) in scalars},
        )


def _numbered(name: str) -> str:
    return re.sub(r"(?<=_)\d", "i", name)


def test_the_page_lists_what_the_loader_demands() -> None:
    assert _documented() == {
        category: (set(needs.keypoints), set(needs.scalars)) for category, needs in NEEDS.items()
    }


@pytest.mark.parametrize("category", NEEDS)
@pytest.mark.parametrize("kind", ["keypoints", "scalars"])
def test_when_anything_needed_is_missing_expect_file_and_field_named(
    tmp_path: Path, category: Category, kind: str
) -> None:
    """Each keypoint and scalar in turn, from a folder."""
    points, scalars = _documented()[category]
    model = next(iter(own_families(category, "train"))).sample(np.random.default_rng(0))
    (tmp_path / "thing.urdf").write_text(model.urdf)
    entry: dict[str, Any] = {"category": category, "split": "test", "urdf": "thing.urdf"}
    entry["scalars"] = dict(model.scalars)
    entry["keypoints"] = {key: {"xyz": p.xyz, "link": p.link} for key, p in model.keypoints.items()}
    file = tmp_path / "thing.json"
    file.write_text(json.dumps(entry))
    assert len(load_families(tmp_path)) == 1
    needed = points if kind == "keypoints" else scalars
    for name in [name for name in entry[kind] if _numbered(name) in needed]:
        _edit(file, **{kind: {key: value for key, value in entry[kind].items() if key != name}})
        with pytest.raises(UserObjectError, match=rf"thing\.json: {kind}\.{name}: missing, a {category}"):
            load_families(tmp_path)


def test_when_a_drawer_does_not_move_expect_it_named(tmp_path: Path) -> None:
    model = next(iter(own_families("cabinet", "train"))).sample(np.random.default_rng(0))
    stuck = replace(model, urdf=model.urdf.replace('type="prismatic"', 'type="fixed"'))
    with pytest.raises(UserObjectError, match=r"urdf: no prismatic joint moves a link 'drawer_0'"):
        _check_model(tmp_path, stuck)
    many = replace(model, scalars={**model.scalars, "drawers": 1.5})
    with pytest.raises(UserObjectError, match=r"scalars\.drawers: expected 1, 2 or 3, got 1\.5"):
        _check_model(tmp_path, many)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FAMILIES = (", "importing it raised SyntaxError"),
        ("import no_such_module", "importing it raised ModuleNotFoundError"),
        ("1 / 0", "importing it raised ZeroDivisionError"),
        (FAMILY.format("raise KeyError('width')"), "odd: sample raised KeyError: 'width'"),
        (FAMILY.format("return 3"), "odd: sample returned 3, not an ObjectModel"),
        (
            FAMILY.format("return ObjectModel('clutter', 'odd', '<robot', {}, {'radius': 0.02})"),
            "urdf: not a URDF",
        ),
    ],
)
def test_when_a_module_fails_expect_its_file_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserObjectError, match=rf"own\.py: {message}"):
        load_families(tmp_path / "own.py")


@pytest.mark.parametrize("name", TASK_NAMES)
def test_what_the_page_lists_is_all_that_a_task_needs(world: World, name: TaskName) -> None:
    chosen = task(name)
    bare = [
        _Bare(next(iter(own_families(category, "train")))) for category in (*chosen.categories, "clutter")
    ]
    for family in bare:
        model, (points, scalars) = family.sample(np.random.default_rng(0)), _documented()[family.category]
        assert {_numbered(key) for key in model.keypoints} == points
        assert {_numbered(key) for key in model.scalars} == scalars
    staged = stage(world, chosen, "train", 1, Registry(bare))
    assert act(world, staged, oracle(staged)).success


def test_the_example_folder_is_swept_by_an_oracle(world: World) -> None:
    families = load_families(EXAMPLES)
    assert sorted(family.name for family in families) == ["cork", "mop"]
    staged = stage(world, task("sweep"), "test", 1, Registry(families))
    assert staged.families == {"brush": "mop", "trash": "cork"}
    assert act(world, staged, oracle(staged)).success


def test_a_cork_that_stands_on_either_end_does_so_and_stays(world: World) -> None:
    cork = next(family for family in load_families(EXAMPLES) if family.name == "cork")
    models = [cork.sample(np.random.default_rng(seed)) for seed in range(8)]
    assert len({model.urdf for model in models}) == 2
    for model in models:
        world.reset()
        placed = world.load(model, (0.5, 0.0, 0.001), yaw_quaternion(0.7))
        top = world.keypoint(placed, "target")
        assert top[2] == pytest.approx(0.001 + model.scalars["height"], abs=1e-6)
        world.settle(1.0)
        np.testing.assert_allclose(world.keypoint(placed, "target"), top, atol=0.002)


def test_a_pose_turns_links_joints_and_keypoints_alike(world: World) -> None:
    """An object given lying, in its resting pose, is the object given standing."""
    family = next(iter(own_families("cabinet", "train")))
    model = family.sample(np.random.default_rng(0))
    xyz, rpy = (0.02, -0.03, 0.05), (0.3, -1.2, 2.0)
    turned = resting(model, xyz, rpy)
    back = np.asarray(np.linalg.inv(_pose(xyz, rpy)), dtype=np.float64)
    angles = cast(Vector, tuple(roll_pitch_yaw(back[:3, :3]).tolist()))
    again = resting(turned, cast(Vector, tuple(back[:3, 3].tolist())), angles)
    for moved, pose in ((turned, _pose(xyz, rpy)), (again, np.eye(4))):
        world.reset()
        first = world.load(model, (0.0, 0.0, 0.0), fixed_base=True)
        second = world.load(moved, (0.0, 0.0, 0.0), fixed_base=True)
        assert first.links.keys() == second.links.keys()
        for name in first.links.keys() - {"base"}:
            for placed in (first, second):
                world.set_joint(placed, name, 0.05)
            expected = pose @ world.pose(first, name)
            np.testing.assert_allclose(world.pose(second, name), expected, atol=1e-6)
        for name in model.keypoints:
            expected = pose @ (*world.keypoint(first, name), 1.0)
            np.testing.assert_allclose(world.keypoint(second, name), expected[:3], atol=1e-6)


def test_an_object_without_poses_is_read_as_it_always_was(folder: Path) -> None:
    _edit(folder / "cork.json", resting_poses=[])
    cork = next(family for family in load_families(folder) if family.name == "cork")
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    model = cork.sample(rng)
    assert rng.bit_generator.state == untouched.bit_generator.state
    part = Part("mesh", (1.0, 1.0, 1.0), mass=0.012, mesh="cork.obj", extent=(0.028, 0.02662, 0.022))
    assert model.urdf == urdf_text("cork", [Link("base", (part,))])
    assert model.keypoints == {"target": LinkPoint((0.0, 0.0, 0.022))}


def test_the_example_module_draws_different_rakes() -> None:
    (family,) = load_families(EXAMPLES / "rakes.py")
    first, second = (family.sample(np.random.default_rng(seed)) for seed in (0, 1))
    assert first.urdf != second.urdf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category": "rope"}, r"mop\.json: category"),
        ({"colour": "red"}, r"mop\.json: colour"),
        ({"friction": -1}, r"mop\.json: friction"),
        ({"keypoints": {"grasp": {"xyz": [0, 0, 0]}}}, r"keypoints\.function: missing"),
        ({"keypoints": {"grasp": {"xyz": [0, 0]}}}, r"keypoints\.grasp\.xyz"),
        ({"scalars": {}}, r"scalars\.grasp_width: missing"),
        ({"urdf": "../mop.urdf"}, "outside the object folder"),
        ({"urdf": "/etc/hostname"}, "outside the object folder"),
        ({"urdf": "gone.urdf"}, "no such file"),
        ({"resting_quaternions": [[0, 0, 0, 1]]}, r"mop\.json: resting_quaternions"),
        ({"resting_poses": [{"rpy": [0, 0]}]}, r"mop\.json: resting_poses\.0\.rpy"),
        ({"resting_poses": [{"height": 0.1}]}, r"mop\.json: resting_poses\.0\.height"),
        (
            {"resting_poses": [{"keypoints": {"grasp": {"xyz": [0, 0, 0], "link": "rope"}}}]},
            r"mop\.json: keypoints\.grasp: the URDF has no link 'rope'",
        ),
        ({"urdf": ""}, "give either urdf or obj"),
    ],
)
def test_when_an_entry_is_wrong_expect_file_and_field_named(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    _edit(folder / "mop.json", **changes)
    with pytest.raises(UserObjectError, match=message):
        load_families(folder)


def test_when_a_file_is_a_link_out_of_the_folder_expect_refusal(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.urdf"
    shutil.move(folder / "mop.urdf", secret)
    (folder / "mop.urdf").symlink_to(secret)
    with pytest.raises(UserObjectError, match="outside the object folder"):
        load_families(folder)


def test_when_a_mesh_inside_a_urdf_leaves_the_folder_expect_refusal(folder: Path) -> None:
    urdf = folder / "mop.urdf"
    urdf.write_text(
        urdf.read_text().replace('<box size="0.05 0.11 0.03"/>', '<mesh filename="../../x.obj"/>')
    )
    with pytest.raises(UserObjectError, match="outside the object folder"):
        load_families(folder)


def test_when_a_moving_joint_has_no_limits_expect_the_joint_named(folder: Path) -> None:
    urdf = folder / "mop.urdf"
    urdf.write_text(urdf.read_text().replace('type="fixed"', 'type="revolute"'))
    with pytest.raises(UserObjectError, match="'neck' has no <limit>"):
        load_families(folder)


def test_when_a_keypoint_is_on_an_unknown_link_expect_it_named(folder: Path) -> None:
    entry = json.loads((folder / "mop.json").read_text())
    entry["keypoints"]["function"]["link"] = "bristles"
    _edit(folder / "mop.json", **entry)
    with pytest.raises(UserObjectError, match="no link 'bristles'"):
        load_families(folder)


@pytest.mark.parametrize(
    ("name", "text"), [("mop.json", "{"), ("mop.urdf", "<robot"), ("cork.obj", "v 1 two 3")]
)
def test_when_a_file_is_garbled_expect_it_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(UserObjectError, match=name):
        load_families(folder)


def test_when_the_path_holds_no_objects_expect_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserObjectError, match="holds no object"):
        load_families(tmp_path)
    with pytest.raises(UserObjectError, match="expected a Python file or a folder"):
        load_families(tmp_path / "absent")
    (tmp_path / "empty.py").write_text("X = 1\n")
    with pytest.raises(UserObjectError, match="defines no FAMILIES"):
        load_families(tmp_path / "empty.py")
    (tmp_path / "odd.py").write_text("FAMILIES = (3,)\n")
    with pytest.raises(UserObjectError, match="no ObjectFamily"):
        load_families(tmp_path / "odd.py")


def test_when_a_mesh_is_binary_expect_it_named(folder: Path) -> None:
    (folder / "cork.obj").write_bytes(b"v 0 0 \xff\xfe\x00")
    with pytest.raises(UserObjectError, match=r"cork\.obj: not an OBJ file"):
        load_families(folder)
