"""The colcon workspace: whole manifests, messages that are the published ones, tests that colcon runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import kalie
from kalie.cli._ros_env import workspace

ROOT = Path(kalie.__file__).parent
SOURCES = ROOT / "ros_ws" / "src"
NODES = SOURCES / "kalie_ros"
MANIFESTS = sorted((ROOT / "ros_ws").glob("[cs]*/*/package.xml"))
BUILT = importlib.util.find_spec("kalie_interfaces") is not None
# What else of ROS the nodes import than messages.
LIBRARIES = {"rclpy", "ament_index_python"}


# ---- manifests -------------------------------------------------------------------------------------------


def listed(manifest: Path, tag: str) -> set[str]:
    """The packages that a manifest lists under a tag."""
    return set(re.findall(rf"<{tag}>([\w-]+)</{tag}>", manifest.read_text("utf-8")))


@pytest.mark.ros
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_a_manifest_is_what_colcon_reads_without_a_warning(manifest: Path) -> None:
    package = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    found = package.parse_package(manifest, warnings=warnings)
    assert warnings == []
    assert found.name == manifest.parent.name


def test_the_manifest_of_the_nodes_names_exactly_the_ros_packages_that_they_import() -> None:
    used = set()
    for path in (NODES / "kalie_ros").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            used |= {name.split(".")[0] for name in names}
    of_ros = {name for name in used if name.endswith(("_msgs", "_srvs", "_interfaces"))} | used & LIBRARIES
    assert listed(NODES / "package.xml", "exec_depend") == of_ros


def test_the_manifest_of_the_messages_names_exactly_the_packages_that_they_are_made_of() -> None:
    folder = SOURCES / "kalie_interfaces"
    definitions = [path for kind in ("msg", "srv", "action") for path in folder.glob(f"{kind}/*.{kind}")]
    made_of = {
        name for path in definitions for name in re.findall(r"(?m)^(\w+)/\w+", path.read_text("utf-8"))
    }
    # Every action is made of action_msgs as well.
    assert listed(folder / "package.xml", "depend") == made_of | {"action_msgs"}


# ---- messages that PyPI lacks ----------------------------------------------------------------------------

# Hashes of the published types, which cover every field of all that they are made of (REP 2011); those of
# control_msgs from before a JointTolerance had an effort.
PUBLISHED = {
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "control_msgs/action/FollowJointTrajectory": (
        "738ebcb7a2d7cfa42f9f1001cc99ce3a4383d1cfe508015d9be8485e4b1c66f6"
    ),
    "control_msgs/action/GripperCommand": "e17c0e644eccf14bea84a0a93e0977182872c2eb7873ca6694900059b46dbc84",
}


@pytest.mark.ros
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_compatible_type_has_the_hash_of_the_published_one(name: str) -> None:
    described = workspace() / "install" / "share" / f"{name}.json"
    if not described.is_file():
        pytest.skip("ROS 2 brings this type itself")
    hashes = json.loads(described.read_text("utf-8"))["type_hashes"]
    assert {item["type_name"]: item["hash_string"] for item in hashes}[name] == f"RIHS01_{PUBLISHED[name]}"


# ---- colcon test -----------------------------------------------------------------------------------------

FAILING = "def test_that_fails() -> None:\n    assert 1 == 2\n"


def colcon(folder: Path, *words: str) -> tuple[int, str]:
    """Run colcon in the workspace, its logs elsewhere; the exit status, and what it said."""
    ended = subprocess.run(
        [str(shutil.which("colcon")), "--log-base", str(folder / "log"), *words],
        cwd=workspace(),
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.ros
@pytest.mark.skipif(not BUILT or shutil.which("colcon") is None, reason="needs a built workspace: make ros")
def test_colcon_runs_the_tests_of_the_nodes_and_tells_which_fail(tmp_path: Path) -> None:
    own, results = NODES / "test", ("--test-result-base", str(tmp_path / "results"))
    assert own.resolve() == Path(__file__).resolve().parent
    select = ("test", "--packages-select", "kalie_ros", *results, "--pytest-args")
    code, said = colcon(tmp_path, *select, "test/test_goals.py", "test/test_joint_states.py")
    assert code == 0, said
    code, said = colcon(tmp_path, "test-result", "--verbose", *results)
    told = re.search(r"(\d+) tests, 0 errors, 0 failures, 0 skipped", said)
    assert told is not None, said
    assert code == 0
    assert int(told[1]) > 20
    failing = tmp_path / "test_failing.py"
    failing.write_text(FAILING)
    colcon(tmp_path, *select, str(failing))
    code, said = colcon(tmp_path, "test-result", "--verbose", *results)
    assert code == 1
    assert "1 failure" in said
    assert "test_that_fails" in said
