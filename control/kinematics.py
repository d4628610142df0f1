"""Forward and inverse kinematics of a serial arm on Pinocchio, from its URDF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio as pin  # pyright: ignore[reportMissingImports]

from ..perception.frame import FloatArray
from .collision import CollisionModel
from .limits import JointLimits, UrdfError, read_limits
from .plan import PlanError
from .robot import RobotConfig


@dataclass(frozen=True)
class IkSettings:
    """How inverse kinematics searches.

    Attributes:
        tolerance: norm of the pose error twist (metres and radians together) that counts as reached.
        iterations: Levenberg-Marquardt steps per start, at most.
        stall: a step that leaves more than this share of the error ends the search from that start.
        restarts: random starts after the given seed and the posture.
        damping: of the normal equations, relative to the squared error.
        posture_gain: share of the way to the posture that each null-space step goes.
        posture_pull: rad; most that one null-space step moves a joint.
        posture_steps: steps with a null-space pull, at most.
        limit_margin: radians kept from the joint limits.
        seed: of the random starts.
    """

    tolerance: float = 1e-6
    iterations: int = 60
    stall: float = 0.97
    restarts: int = 12
    damping: float = 1e-3
    posture_gain: float = 0.1
    posture_pull: float = 0.05
    posture_steps: int = 15
    limit_margin: float = 0.02
    seed: int = 0


class Kinematics:
    """Forward and inverse kinematics, joint limits and collisions of one arm.

    Attributes:
        robot: what it was built from.
        limits: the joint limits of the URDF, completed by the robot's record.
        collisions: the collision model.
    """

    def __init__(self, robot: RobotConfig, settings: IkSettings | None = None) -> None:
        """Read the URDF.

        Raises:
            UrdfError: naming the joint without limits, or the missing joint or TCP link.
        """
        self.robot = robot
        self.settings = settings or IkSettings()
        self.limits: JointLimits = read_limits(robot.urdf, robot.joint_names, robot.acceleration, robot.jerk)
        full = pin.buildModelFromUrdf(robot.urdf)
        _add_tcp(full, robot)
        # Gripper joints are locked at their upper limits: open jaws are the widest, hence the safe, shape.
        locked = np.where(np.isfinite(full.upperPositionLimit), full.upperPositionLimit, 0.0)
        others = [i for i in range(1, full.njoints) if full.names[i] not in robot.joint_names]
        self._model = pin.buildReducedModel(full, others, locked)
        _check_order(self._model, robot)
        self._data = self._model.createData()
        self._tcp = self._model.getFrameId("tcp")
        self._posture = np.array(robot.posture)
        self._low = self.limits.lower + self.settings.limit_margin
        self._high = self.limits.upper - self.settings.limit_margin
        self.collisions = CollisionModel(robot, full, locked)

    def forward(self, positions: FloatArray) -> FloatArray:
        """The pose `base_from_tcp` (4, 4) at joint positions (J,), rad."""
        return self._pose(positions).homogeneous

    def inverse(
        self, base_from_tcp: FloatArray, seed_positions: FloatArray, name: str = "pose"
    ) -> FloatArray:
        """Joint positions (J,) that reach a pose within the limits, free of collisions.

        Levenberg-Marquardt from the seed, then from the posture, then from random starts; the same call
        always gives the same answer. Redundancy is resolved toward the posture.

        Args:
            base_from_tcp: (4, 4) goal.
            seed_positions: (J,) rad, where to look first.
            name: of the waypoint, for the error.

        Raises:
            PlanError: naming the waypoint, why it cannot be reached, and the nearest pose that can.
        """
        goal = _checked_pose(base_from_tcp, name)
        tried, obstacle = [np.clip(seed_positions, self._low, self._high)], None
        for start in self._starts(seed_positions, goal.translation):
            positions, error = self._solve(goal, start, self.settings.posture_steps)
            hit = self.collisions.find(positions)
            if hit is None and error <= self.settings.tolerance:
                return positions
            if error <= self.settings.tolerance:
                obstacle = obstacle or hit
            tried.append(positions if hit is None else self._last_free(tried[0], positions))
        reason = (
            f"every solution found collides ({obstacle})" if obstacle else "no solution within the limits"
        )
        raise PlanError(f"{name} at {_words(goal)}: {reason}; {self._nearest(goal, tried)}")

    def follow(self, base_from_tcp: FloatArray, seed_positions: FloatArray) -> FloatArray | None:
        """The solution (J,) that continues from a neighbouring one, or None; collisions are not checked."""
        goal = _se3(base_from_tcp)
        positions, error = self._solve(goal, seed_positions, 1)
        return positions if error <= self.settings.tolerance else None

    def _pose(self, positions: FloatArray) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, positions)
        return pin.updateFramePlacement(self._model, self._data, self._tcp)

    def _starts(self, seed: FloatArray, goal: FloatArray) -> list[FloatArray]:
        """The seed, the posture turned toward the goal, and random configurations, within the limits."""
        turned = self._turned_posture(goal)
        rng = np.random.default_rng(self.settings.seed)
        spread = rng.uniform(self._low, self._high, (self.settings.restarts, len(self._low)))
        return [np.clip(start, self._low, self._high) for start in (seed, turned, *spread)]

    def _solve(self, goal: pin.SE3, start: FloatArray, pulls: int) -> tuple[FloatArray, float]:
        """Levenberg-Marquardt with the damping of Sugihara (2011): proportional to the squared error."""
        q, posture, before = start.copy(), self._turned_posture(goal.translation), np.inf
        for step in range(self.settings.iterations):
            error = pin.log6(self._pose(q).actInv(goal)).vector
            size = float(np.sqrt(error @ error))
            if step >= pulls and (size <= self.settings.tolerance or size > self.settings.stall * before):
                return q, size
            before = size
            jacobian = pin.computeFrameJacobian(self._model, self._data, q, self._tcp)
            pull = self._pull(q, posture) if step < pulls else np.zeros_like(q)
            q = self._step(q, jacobian, error, self.settings.damping * size * size + 1e-10, pull)
        error = pin.log6(self._pose(q).actInv(goal)).vector
        return q, float(np.sqrt(error @ error))

    def _turned_posture(self, goal: FloatArray) -> FloatArray:
        """The posture with its first joint turned so that it faces a point (3,)."""
        turned = self._posture.copy()
        turned[0] += np.arctan2(goal[1], goal[0])
        return turned

    def _pull(self, q: FloatArray, posture: FloatArray) -> FloatArray:
        most = self.settings.posture_pull
        return np.clip(self.settings.posture_gain * (posture - q), -most, most)

    def _step(
        self, q: FloatArray, jacobian: FloatArray, error: FloatArray, damping: float, pull: FloatArray
    ) -> FloatArray:
        """One damped step with a null-space pull; joints that would leave their limits are frozen there."""
        free = np.ones(len(q), dtype=bool)
        moved = q
        for _ in range(3):
            j = jacobian * free
            normal = j @ j.T + damping * np.eye(6)
            toward = pull * free
            step = toward + j.T @ np.linalg.solve(normal, error - j @ toward)
            moved = q + step * min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-12))
            outside = free & ((moved < self._low) | (moved > self._high))
            if not outside.any():
                break
            free &= ~outside
        return np.clip(moved, self._low, self._high)

    def _last_free(self, free: FloatArray, blocked: FloatArray) -> FloatArray:
        """The configuration nearest to a colliding one on the joint line from a free one, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(8):
            middle = (low + high) / 2
            touches = self.collisions.find(free + middle * (blocked - free)) is not None
            low, high = (low, middle) if touches else (middle, high)
        return free + low * (blocked - free)

    def _nearest(self, goal: pin.SE3, tried: list[FloatArray]) -> str:
        poses = [self._pose(positions).copy() for positions in tried]
        pose = min(poses, key=lambda found: float(np.linalg.norm(pin.log6(found.actInv(goal)).vector)))
        away = float(np.linalg.norm(pose.translation - goal.translation))
        turn = float(np.degrees(np.linalg.norm(pin.log3(pose.rotation.T @ goal.rotation))))
        return f"the nearest reachable pose found is {_words(pose)}, {away:.3f} m and {turn:.0f} deg away"


def _add_tcp(model: pin.Model, robot: RobotConfig) -> None:
    if not model.existFrame(robot.tcp_frame):
        raise UrdfError(f"{robot.urdf}: no link {robot.tcp_frame!r} for the tool centre point")
    link = model.frames[model.getFrameId(robot.tcp_frame)]
    placement = link.placement * pin.SE3(np.eye(3), np.array(robot.tcp_offset))
    model.addFrame(pin.Frame("tcp", link.parentJoint, placement, pin.FrameType.OP_FRAME))


def _check_order(model: pin.Model, robot: RobotConfig) -> None:
    order = tuple(model.names)[1:]
    if order != tuple(robot.joint_names) or model.nq != len(order):
        raise UrdfError(
            f"{robot.urdf}: joint_names must be the arm's revolute joints, base to tip, each with limits; "
            f"the URDF has them as {', '.join(order)}"
        )


def _se3(pose: FloatArray) -> pin.SE3:
    return pin.SE3(pose[:3, :3], pose[:3, 3])


def _checked_pose(pose: FloatArray, name: str) -> pin.SE3:
    rotation = np.asarray(pose, dtype=np.float64)[:3, :3]
    if np.shape(pose) != (4, 4) or not np.isfinite(pose).all():
        raise PlanError(f"{name}: the goal pose must be a finite 4x4 transform")
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
        raise PlanError(f"{name}: the goal pose holds no rotation")
    return _se3(pose)


def _words(pose: pin.SE3) -> str:
    x, y, z = pose.translation
    return f"({x:.3f}, {y:.3f}, {z:.3f}) m"
