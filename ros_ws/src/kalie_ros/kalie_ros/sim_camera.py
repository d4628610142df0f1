"""The simulated camera: a process of its own that draws, so that drawing never holds up the control loop.

    python -m kalie_ros.sim_camera SOCKET

It stages the scene itself (the same task, split and seed give the same scene, bit for bit) and is then told
where everything is. Over the socket go `S` and a scene as JSON, which has no answer, and `D` and a state as
float64, whose answer is the picture: uint8 RGB, then float32 metres. It ends with the socket, and so with
the process at the other end, however that one dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pybullet as pb

from kalie.perception.frame import DepthArray, FloatArray, ImageArray
from kalie.sim.camera import CameraConfig
from kalie.sim.objects import Split
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.task import TaskName
from kalie.sim.world import ARM_JOINTS, FINGER_JOINTS, World

SIZE = CameraConfig().size
# Seconds after which a drawing process that does not answer is replaced; staging a scene takes some of them.
PATIENCE = 120.0
PAUSE = 0.5
GLANCE = 0.1
# Drawing may be late, the control loop may not.
NICENESS = 5
_ROBOT = (*ARM_JOINTS, *FINGER_JOINTS)


@dataclass(frozen=True)
class SceneKey:
    """What a scene is staged from."""

    task: TaskName
    split: Split
    seed: int


@dataclass(frozen=True)
class Shot:
    """A state to be drawn.

    Attributes:
        scene: whose objects these are.
        state: from `snapshot`.
        stamp: nanoseconds, when it was taken.
    """

    scene: SceneKey
    state: FloatArray
    stamp: int


class RenderError(RuntimeError):
    """The drawing process died or does not answer."""


def snapshot(world: World) -> FloatArray:
    """Where the arm and everything placed is: what `pose` needs to draw it in another process."""
    bullet = world.bullet
    values = [state[0] for state in bullet.getJointStates(world.robot, _ROBOT)]
    for placed in world.objects():
        position, quaternion = bullet.getBasePositionAndOrientation(placed.body)
        values += [*position, *quaternion]
        values += [bullet.getJointState(placed.body, joint)[0] for joint in _joints(world, placed.body)]
    return np.array(values, dtype=np.float64)


def pose(world: World, state: FloatArray) -> None:
    """Put everything where a snapshot of the same scene says.

    Raises:
        ValueError: the snapshot is of another scene.
    """
    values = iter(state.tolist())
    try:
        for joint in _ROBOT:
            world.bullet.resetJointState(world.robot, joint, next(values))
        for placed in world.objects():
            place = [next(values) for _ in range(7)]
            world.bullet.resetBasePositionAndOrientation(placed.body, place[:3], place[3:])
            for joint in _joints(world, placed.body):
                world.bullet.resetJointState(placed.body, joint, next(values))
    except StopIteration:
        raise ValueError(f"state: {len(state)} values are too few for this scene") from None
    if next(values, None) is not None:
        raise ValueError(f"state: {len(state)} values are too many for this scene")


def _joints(world: World, body: int) -> list[int]:
    """The joints of a body that can move."""
    joints = range(world.bullet.getNumJoints(body))
    return [joint for joint in joints if world.bullet.getJointInfo(body, joint)[2] != pb.JOINT_FIXED]


class RenderProcess:
    """The drawing process, from the side of the one who wants pictures. For one thread, but for `close`."""

    def __init__(self) -> None:
        self._end, theirs = Pipe()
        self._scene: SceneKey | None = None
        self._closed = False
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # PyBullet greets there
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C is for this side, which ends the other
        )
        theirs.close()

    def draw(self, shot: Shot) -> tuple[ImageArray, DepthArray]:
        """Draw a state: uint8 (H, W, 3), and metres (H, W), NaN = nothing there.

        Raises:
            RenderError: the process died, or does not answer.
        """
        try:
            if shot.scene != self._scene:
                self._end.send_bytes(b"S" + json.dumps(asdict(shot.scene)).encode())
                self._scene = shot.scene
            self._end.send_bytes(b"D" + shot.state.tobytes())
            self._wait()
            picture = self._end.recv_bytes(SIZE * SIZE * 7)
        except (EOFError, OSError) as error:
            raise RenderError(f"the drawing process died: {type(error).__name__}") from error
        rgb = np.frombuffer(picture, np.uint8, SIZE * SIZE * 3).reshape(SIZE, SIZE, 3)
        depth = np.frombuffer(picture, np.float32, SIZE * SIZE, SIZE * SIZE * 3).reshape(SIZE, SIZE)
        return rgb, depth

    def _wait(self) -> None:
        """Wait for an answer. Raises RenderError."""
        deadline = time.monotonic() + PATIENCE
        while not self._end.poll(GLANCE):
            if self._closed:
                raise RenderError("the drawing process was closed")
            if time.monotonic() > deadline:
                self._process.kill()
                raise RenderError(f"the drawing process has not answered for {PATIENCE:g} s")

    def close(self) -> None:
        """End the process, which first finishes what it draws; a `draw` that waits fails at once."""
        self._closed = True
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GLANCE)


class Photographer:
    """Draws the newest shot that it was offered in a thread that waits for the process; restarts that one.

    Args:
        taken: called with each picture: shot, uint8 (H, W, 3), metres (H, W).
        failed: told why a picture failed.
    """

    def __init__(
        self, taken: Callable[[Shot, ImageArray, DepthArray], None], failed: Callable[[str], object]
    ) -> None:
        self._taken, self._failed = taken, failed
        self._shot: Shot | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._process = RenderProcess()
        self._thread = threading.Thread(target=self._live, name="camera", daemon=True)
        self._thread.start()

    def offer(self, shot: Shot) -> None:
        """Draw this one next; one that still waits is dropped for it."""
        with self._changed:
            self._shot = shot
            self._changed.notify()

    def close(self) -> None:
        """End the thread and the process."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._process.close()
        self._thread.join()
        self._process.close()  # another one, if the thread was just replacing it

    def _live(self) -> None:
        while (shot := self._next()) is not None:
            try:
                self._taken(shot, *self._process.draw(shot))
            except RenderError as error:
                self._replace(str(error))

    def _next(self) -> Shot | None:
        """The newest shot; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._shot is not None)
            shot, self._shot = self._shot, None
            return None if self._ended else shot

    def _replace(self, reason: str) -> None:
        with self._changed:
            ended = self._changed.wait_for(lambda: self._ended, PAUSE)
        if not ended:
            self._failed(f"{reason}; it is started anew")
            self._process.close()
            self._process = RenderProcess()


def _serve(connection: Connection, world: World) -> None:
    """Answer until the other end is gone."""
    while True:
        order = connection.recv_bytes()
        if order[:1] == b"S":
            scene = SceneKey(**json.loads(order[1:]))
            stage(world, task(scene.task), scene.split, scene.seed)
        else:
            pose(world, np.frombuffer(order, np.float64, offset=1))
            frame = world.render()
            connection.send_bytes(frame.rgb.tobytes() + frame.depth.tobytes())


def main() -> None:
    """Draw for the process at the other end of the socket."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.nice(NICENESS)
    connection = Connection(int(sys.argv[1]))
    world = World()
    try:
        _serve(connection, world)
    except (EOFError, ConnectionError):
        return
    finally:
        world.close()


if __name__ == "__main__":
    main()
