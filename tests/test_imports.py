"""Who may import whom: the table of the design, enforced on the import graph of the sources."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import kalie

ROOT = Path(kalie.__file__).parent
ALLOWED: dict[str, set[str]] = {
    "cli": {"affordance", "cli", "conf", "control", "core", "perception", "rl", "sim", "synthesis"},
    "rl": {"core"},
    "sim": {"affordance", "control", "core", "perception"},
    "synthesis": {"affordance", "core", "perception"},
    "control": {"affordance", "core", "perception"},
    "affordance": {"core", "perception"},
    "perception": {"core"},
    "core": set(),
    "conf": set(),
}
"""By package, the packages it may import besides itself."""

# Where a package may use only some modules of another, or some of its modules may use more.
CONTROL_MAY_SEE = {"affordance.schema", "affordance.units", "perception.frame", "perception.depth"}
RL_ADAPTERS = {"rl.envs.manipulation", "rl.keypoint_policy"}
OPTIONAL = {"diffusers", "segment_anything", "rclpy", "playwright", "ray", "vllm", "trackio", "wandb"}
TEST_FAMILIES = "sim.families_test"
TRAINING = ("affordance", "synthesis", "core", "perception")


def sources() -> dict[str, Path]:
    """Every library module by its name below `kalie`."""
    found = {}
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = sources()


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that a `from` import names, below `kalie`; outside modules keep their full name."""
    if node.level == 0:
        return (node.module or "").removeprefix("kalie.")
    is_package = MODULES[module].name == "__init__.py"
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _type_only(tree: ast.Module) -> set[ast.stmt]:
    """Statements under `if TYPE_CHECKING`."""
    branches = (node for node in ast.walk(tree) if isinstance(node, ast.If))
    blocks = [node for node in branches if ast.unparse(node.test) == "TYPE_CHECKING"]
    walked = (ast.walk(child) for block in blocks for child in block.body)
    return {node for nodes in walked for node in nodes if isinstance(node, ast.stmt)}


@functools.cache
def imports(module: str, *, top_level_only: bool = False) -> frozenset[str]:
    """Modules that a module imports, lazily too unless `top_level_only`; `from a import b`: a and a.b."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    nodes = set(tree.body) if top_level_only else set(ast.walk(tree))
    found: set[str] = set()
    for node in nodes - (_type_only(tree) if top_level_only else set()):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("kalie.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            found |= {base} | {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return frozenset(found)


def ours(names: frozenset[str]) -> frozenset[str]:
    """Those of the names that are modules of the library."""
    return names & MODULES.keys()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_imports_only_lower_rooms(module: str) -> None:
    package = module.split(".")[0]
    allowed = ALLOWED[package] | ({"sim", "affordance", "perception"} if module in RL_ADAPTERS else set())
    for name in ours(imports(module)):
        other = name.split(".")[0]
        assert other == package or other in allowed, f"{module} must not import {name}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "control"))
def test_control_sees_only_schema_units_frames_and_lifting(module: str) -> None:
    for name in ours(imports(module)):
        if name.startswith(("affordance.", "perception.")):
            assert name in CONTROL_MAY_SEE, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_of_our_own_are_relative(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        assert not any(name.split(".")[0] == "kalie" for name in names), f"{module}: write it relative"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_optional_packages_are_imported_lazily(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module, top_level_only=True)}
    assert not roots & OPTIONAL, f"{module} imports {roots & OPTIONAL} at import time"


def reachable(start: str) -> set[str]:
    """Every library module that importing or calling `start` may bring in."""
    seen, queue = {start}, [start]
    while queue:
        for name in ours(imports(queue.pop())) - seen:
            seen.add(name)
            queue.append(name)
    return seen


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] in TRAINING))
def test_training_code_cannot_reach_the_test_families(module: str) -> None:
    found = reachable(module)
    assert TEST_FAMILIES not in found
    assert not any(name.split(".")[0] == "sim" for name in found)
    assert TEST_FAMILIES not in MODULES[module].read_text("utf-8")
    assert "families_test" not in MODULES[module].read_text("utf-8")


LIGHT = {
    "perception.frame": {"torch", "pybullet"},
    "affordance.schema": {"torch", "pybullet", "cv2"},
    "affordance.units": {"torch", "pybullet", "cv2"},
    "affordance.model": {"torch", "pybullet", "transformers"},
    "control.plan": {"torch", "pybullet"},
    "control.arm": {"torch", "pybullet"},
    "control.safety": {"torch", "pybullet", "rclpy"},
    "core.config": {"torch", "pybullet"},
    "core.runs": {"torch", "pybullet", "matplotlib"},
    "core.stats": {"torch", "pybullet", "scipy"},
    "cli.main": {"torch", "pybullet", "hydra", "numpy", "rich"},
}
"""Modules that must stay quick to import, and what they may not pull in."""


@pytest.mark.parametrize("module", sorted(LIGHT.keys() & MODULES.keys()))
def test_light_module_pulls_in_nothing_heavy(module: str) -> None:
    code = f"import sys, kalie.{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = set(done.stdout.split()) & (LIGHT[module] | OPTIONAL)
    assert not heavy, f"import kalie.{module} pulls in {sorted(heavy)}"


def test_the_rule_would_notice_a_breach() -> None:
    """The graph is not empty: known edges are seen, lazy ones too."""
    assert "core.config" in ours(imports("cli.main"))
    assert "core.files" in ours(imports("core.runs"))
    assert "core.config" not in ours(imports("cli.main", top_level_only=True))
    assert "core.files" in reachable("cli.doctor") or "core.config" in reachable("cli.doctor")
