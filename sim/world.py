"""One Bullet world: a Panda at the origin, a table whose top is z = 0, a camera above.

Resetting removes what was added and restores the state saved after construction; nothing fixed is loaded
twice. It is exact (`bullet` says how): the same calls after a reset or a restored state give the same bits,
in this world, in another one, and in another process.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pybullet as pb
import pybullet_data
from numpy.typing import NDArray

from ..perception.frame import FloatArray, RgbdFrame
from .bullet import Bullet
from .camera import Camera, CameraConfig, Renderer
from .objects import LinkPoint, ObjectModel, PlacedObject
from .shadows import cast, light_camera, shadow_mask
from .urdf import Colour, Vector, xml_lines

PANDA_URDF = str(Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf")
ARM_JOINTS = tuple(range(7))
FINGER_JOINTS = (9, 10)
TCP_LINK = 11
# Folded back over its base, where the camera does not see it.
HOME = (0.0, -1.4, 0.0, -2.2, 0.0, 2.4, 0.785)
ARM_FORCES = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
FINGER_FORCE = 30.0
FINGER_SPEED = 0.2
JAW_LIMIT = 0.08
# A finger's place in open jaws, metres: inside its stop, where Bullet would solve one more constraint.
FINGER_OPEN = 0.0399
# Bullet keeps 1 to 5 kB of every removed body until it is emptied, which costs as much as making a world.
MOST_LOADS = 500
FLOOR_Z = -0.45
TABLE_THICKNESS = 0.04
TABLE_COLOUR = (0.78, 0.74, 0.68, 1.0)
FLOOR_COLOUR = (0.32, 0.33, 0.36, 1.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
Quaternion = tuple[float, float, float, float]
Transform = tuple[Sequence[float], Sequence[float]]
StepHook = Callable[[], None]


@dataclass(frozen=True)
class TableBounds:
    """The table top, metres in the base frame; y grows to the left as the camera sees it."""

    near: float = 0.25
    far: float = 0.75
    right: float = -0.35
    left: float = 0.35

    def contains(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Whether (x, y) is on the table, at least `margin` from its edges."""
        inside_x = self.near + margin <= x <= self.far - margin
        return inside_x and self.right + margin <= y <= self.left - margin


TABLE = TableBounds()


@dataclass(frozen=True)
class WorldConfig:
    """How the world is simulated and drawn.

    Attributes:
        camera: nominal camera.
        renderer: TinyRenderer (CPU, no set-up) or EGL (GPU or llvmpipe; needs libEGL).
        time_step: seconds per physics step.
        solver_iterations: of Bullet's constraint solver, at most.
        solver_residual: at which it stops early.
    """

    camera: CameraConfig = field(default_factory=CameraConfig)
    renderer: Renderer = "tiny"
    time_step: float = 1 / 240
    solver_iterations: int = 50
    solver_residual: float = 1e-5


@dataclass(frozen=True)
class Lighting:
    """One distant light.

    Attributes:
        direction: from the scene toward the light.
        colour: RGB in [0, 1].
        ambient: coefficient of light from everywhere.
        diffuse: coefficient of light from `direction`.
        specular: coefficient of highlights.
        shadow: how dark cast shadows are, in [0, 1]; above 0 costs a second drawing per frame.
    """

    direction: tuple[float, float, float] = (0.3, 0.4, 1.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ambient: float = 0.6
    diffuse: float = 0.45
    specular: float = 0.05
    shadow: float = 0.0


class World:
    """A simulated table, arm and camera.

    Attributes:
        bullet: the PyBullet client, for what this class does not wrap.
        robot: the Panda's body id.
        table: the table's body id.
        floor: the floor's body id.
        camera: the camera as posed now; appearance code replaces it.
        lighting: the light as set now.
        steps: physics steps since the last reset.
        files: folder of the URDFs and textures that Bullet has read; gone when the world is.
    """

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        self.bullet = Bullet()
        self.files = Path(tempfile.mkdtemp(prefix="kalie_world_"))
        self._clean_up = weakref.finalize(self, shutil.rmtree, self.files, ignore_errors=True)
        self._placed: dict[int, PlacedObject] = {}
        self._base_from_mass: dict[int, Transform] = {}
        self._hooks: list[StepHook] = []
        self.camera = Camera.place(self.config.camera)
        self.lighting = Lighting()
        self.steps = 0
        self._furnish()
        self._renderer = self._start_renderer()

    # ---- life ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Disconnect from Bullet and delete temporary files; a second call does nothing."""
        if self._clean_up.detach() is not None:
            self.bullet.disconnect()
            shutil.rmtree(self.files, ignore_errors=True)

    def reset(self) -> None:
        """Back to the empty table with the arm at home; camera and light at their nominal settings."""
        while self._placed:
            body, _ = self._placed.popitem()
            del self._base_from_mass[body]
            self.bullet.remove_last(body)
        self.bullet.clear_filters()
        self._hooks.clear()
        if self._loads > MOST_LOADS:
            self.bullet.empty()
            self._furnish()
        self.restore(self._base_state)
        self.hold_home()
        self.bullet.changeVisualShape(self.table, -1, rgbaColor=TABLE_COLOUR, textureUniqueId=-1)
        self.bullet.changeVisualShape(self.floor, -1, rgbaColor=FLOOR_COLOUR, textureUniqueId=-1)
        self.camera = Camera.place(self.config.camera)
        self.lighting = Lighting()
        self.steps = 0

    def save(self) -> int:
        """Save the state of everything now loaded; pass the handle to `restore`, then to `forget`.

        Contacts are found anew here, as in `restore`, so that going on from either gives the same bits.
        """
        handle = self.bullet.saveState()
        self.restore(handle)
        return handle

    def restore(self, handle: int) -> None:
        """Restore what `save` saved; the same objects must be loaded. Motor targets are not part of it."""
        self.bullet.restoreState(handle)
        for body in (self.robot, self.table, self.floor, *self._placed):
            self.bullet.forget_contacts(body)
        self.bullet.performCollisionDetection()

    def forget(self, handle: int) -> None:
        """Free a saved state."""
        self.bullet.removeState(handle)

    # ---- objects ---------------------------------------------------------------------------------------

    def load(
        self,
        model: ObjectModel,
        position: FloatArray | Vector,
        quaternion: Quaternion = UPRIGHT,
        fixed_base: bool = False,
    ) -> PlacedObject:
        """Place an object.

        Args:
            model: what to load.
            position: of its base link's frame, metres.
            quaternion: (x, y, z, w) of its base link's frame.
            fixed_base: whether the base cannot move.

        Raises:
            ValueError: Bullet cannot load the URDF; the message names the family.
        """
        x, y, z = (float(value) for value in position)
        path = self._urdf_file(model)
        flags = pb.URDF_USE_INERTIA_FROM_FILE
        try:
            body = self.bullet.loadURDF(path, (x, y, z), quaternion, useFixedBase=fixed_base, flags=flags)
        except pb.error as error:
            raise ValueError(
                f"object of family {model.family!r}: Bullet cannot load its URDF: {error}"
            ) from None
        self._loads += 1
        links = {"base": -1}
        for index in range(self.bullet.getNumJoints(body)):
            links[self.bullet.getJointInfo(body, index)[12].decode()] = index
        placed = PlacedObject(model, body, links, np.array([x, y, z]), np.array(quaternion, dtype=np.float64))
        local_position, local_quaternion = self.bullet.getDynamicsInfo(body, -1)[3:5]
        self._base_from_mass[body] = self.bullet.invertTransform(local_position, local_quaternion)
        self._set_dynamics(placed)
        for link, rgba in model.colours.items():
            self.set_colour(placed, link, rgba)
        self._placed[body] = placed
        return placed

    def objects(self) -> tuple[PlacedObject, ...]:
        """Everything placed since the last reset, in order."""
        return tuple(self._placed.values())

    def pose(self, placed: PlacedObject, link: str = "base") -> FloatArray:
        """The (4, 4) pose of a link's URDF frame in the base frame."""
        position, quaternion = self._frame(placed, link)
        a, b, c, d, e, f, g, h, i = self.bullet.getMatrixFromQuaternion(quaternion)
        x, y, z = position
        return np.array([[a, b, c, x], [d, e, f, y], [g, h, i, z], [0.0, 0.0, 0.0, 1.0]])

    def point(self, placed: PlacedObject, point: LinkPoint) -> FloatArray:
        """A point of an object, (3,) metres in the base frame."""
        frame = self._frame(placed, point.link)
        return np.array(self.bullet.multiplyTransforms(*frame, point.xyz, UPRIGHT)[0])

    def keypoint(self, placed: PlacedObject, name: str) -> FloatArray:
        """A named keypoint of an object, (3,) metres in the base frame."""
        return self.point(placed, placed.model.keypoints[name])

    def joint_position(self, placed: PlacedObject, link: str) -> float:
        """Position of the joint above a link, rad or metres."""
        return float(self.bullet.getJointState(placed.body, placed.links[link])[0])

    def set_joint(self, placed: PlacedObject, link: str, position: float) -> None:
        """Put the joint above a link somewhere, at rest."""
        self.bullet.resetJointState(placed.body, placed.links[link], position, 0.0)

    def bounds(self, placed: PlacedObject) -> tuple[FloatArray, FloatArray]:
        """Axis-aligned corners (3,), (3,) around all links, metres."""
        corners = [self.bullet.getAABB(placed.body, index) for index in placed.links.values()]
        lows, highs = zip(*corners, strict=True)
        low = [min(axis) for axis in zip(*lows, strict=True)]
        return np.array(low), np.array([max(axis) for axis in zip(*highs, strict=True)])

    def touching(self, placed: PlacedObject, body: int) -> bool:
        """Whether an object touches another body, as of the last step."""
        return len(self.bullet.getContactPoints(placed.body, body)) > 0

    # ---- physics ---------------------------------------------------------------------------------------

    def step(self, count: int = 1) -> None:
        """Advance physics; every hook runs before every step."""
        advance = self.bullet.stepSimulation
        for _ in range(count):
            for hook in self._hooks:
                hook()
            advance()
        self.steps += count

    def add_step_hook(self, hook: StepHook) -> None:
        """Run `hook` before every physics step until the next reset (e.g. a joint that breaks)."""
        self._hooks.append(hook)

    def settle(self, seconds: float = 0.5) -> None:
        """Let things come to rest with the arm held at home."""
        self.step(round(seconds / self.config.time_step))

    def hold_home(self) -> None:
        """Aim all motors at the home pose with open jaws."""
        self.drive_arm(HOME, (0.0,) * len(HOME))
        self.drive_jaws(JAW_LIMIT)

    def drive_arm(self, positions: Sequence[float], velocities: Sequence[float]) -> None:
        """Aim the arm's motors at joint positions, rad, with velocities, rad/s; seven of each."""
        self.bullet.setJointMotorControlArray(
            self.robot,
            ARM_JOINTS,
            pb.POSITION_CONTROL,
            targetPositions=positions,
            targetVelocities=velocities,
            forces=ARM_FORCES,
        )

    def drive_jaws(self, width: float, force: float = FINGER_FORCE) -> None:
        """Aim the fingers at an opening, metres; what is between them stops them at a force, N each."""
        finger = min(width / 2, FINGER_OPEN)
        self.bullet.setJointMotorControlArray(
            self.robot,
            FINGER_JOINTS,
            pb.POSITION_CONTROL,
            targetPositions=(finger, finger),
            forces=(force, force),
        )

    def joint_states(self) -> tuple[FloatArray, FloatArray]:
        """Positions (9,) rad and metres, and velocities (9,), of the seven arm joints and two fingers."""
        states = self.bullet.getJointStates(self.robot, (*ARM_JOINTS, *FINGER_JOINTS))
        return np.array([state[0] for state in states]), np.array([state[1] for state in states])

    # ---- pictures --------------------------------------------------------------------------------------

    def set_colour(self, placed: PlacedObject, link: str, rgba: Colour) -> None:
        """Colour a link; with a texture, the colour multiplies it."""
        self.bullet.changeVisualShape(placed.body, placed.links[link], rgbaColor=rgba)

    def set_texture(self, body: int, link: int, image: NDArray[np.uint8]) -> None:
        """Cover a link (-1 is the base) with a texture, uint8 (H, W, 3). Equal images are loaded once.

        Bullet never frees a texture, so draw from a bounded bank (see `textures`).
        """
        self.bullet.changeVisualShape(body, link, textureUniqueId=self._texture(image))

    def visual_shapes(self, placed: PlacedObject) -> list[tuple[int, int, Colour]]:
        """(link index, index of the shape in its link, RGBA as loaded) of every visible shape."""
        counts: dict[int, int] = {}
        shapes = []
        for entry in self.bullet.getVisualShapeData(placed.body):
            link, rgba = entry[1], entry[7]
            shapes.append((link, counts.get(link, 0), (rgba[0], rgba[1], rgba[2], rgba[3])))
            counts[link] = counts.get(link, 0) + 1
        return shapes

    def paint(
        self,
        placed: PlacedObject,
        link: int,
        shape: int,
        rgba: Colour,
        image: NDArray[np.uint8] | None = None,
    ) -> None:
        """Colour one visible shape, and cover it with a texture where one is given."""
        texture = -1 if image is None else self._texture(image)
        self.bullet.changeVisualShape(
            placed.body, link, shapeIndex=shape, rgbaColor=rgba, textureUniqueId=texture
        )

    def render(self) -> RgbdFrame:
        """Draw the present state."""
        frame, _ = self.render_with_bodies()
        return frame

    def render_with_bodies(self) -> tuple[RgbdFrame, NDArray[np.int32]]:
        """Draw the present state, and which body id each pixel shows (-1 = none), int32 (H, W)."""
        frame, bodies = self._draw(self.camera)
        if self.lighting.shadow > 0:
            centre = ((TABLE.near + TABLE.far) / 2, (TABLE.left + TABLE.right) / 2, 0.0)
            light, _ = self._draw(light_camera(self.lighting.direction, centre, self.config.camera.size))
            rgb = cast(frame.rgb, shadow_mask(frame, light), self.lighting.shadow)
            frame = replace(frame, rgb=rgb)
        return frame, bodies

    def _draw(self, camera: Camera) -> tuple[RgbdFrame, NDArray[np.int32]]:
        size, light = camera.config.size, self.lighting
        _, _, rgba, z_buffer, bodies = self.bullet.getCameraImage(
            size,
            size,
            camera.view_matrix(),
            camera.projection_matrix(),
            lightDirection=light.direction,
            lightColor=light.colour,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=light.specular,
            shadow=0,
            renderer=self._renderer,
        )
        rgb = np.ascontiguousarray(np.reshape(rgba, (size, size, 4))[:, :, :3], dtype=np.uint8)
        depth = Camera.metres(np.reshape(np.asarray(z_buffer, dtype=np.float64), (size, size)))
        intrinsics = camera.intrinsics(self.config.renderer)
        stamp = self.steps * self.config.time_step
        frame = RgbdFrame(rgb, depth.astype(np.float32), intrinsics, camera.base_from_camera, stamp)
        return frame, np.reshape(np.asarray(bodies, dtype=np.int32), (size, size))

    # ---- construction ----------------------------------------------------------------------------------

    def _furnish(self) -> None:
        """Fill an empty Bullet with what every scene has."""
        self._loads = 0
        self._textures: dict[str, int] = {}
        self._set_physics()
        self.robot = self._load_robot()
        self.table, self.floor = self._load_furniture()
        self._home()
        self._base_state = self.save()

    def _set_physics(self) -> None:
        self.bullet.setTimeStep(self.config.time_step)
        self.bullet.setGravity(0, 0, -9.81)
        self.bullet.setPhysicsEngineParameter(
            numSolverIterations=self.config.solver_iterations,
            solverResidualThreshold=self.config.solver_residual,
            deterministicOverlappingPairs=1,
        )

    def _load_robot(self) -> int:
        robot = self.bullet.loadURDF(PANDA_URDF, useFixedBase=True)
        for finger in FINGER_JOINTS:
            self.bullet.changeDynamics(robot, finger, lateralFriction=1.5, spinningFriction=0.1)
            # Only here: a motor keeps its greatest velocity, and the function for several joints takes none.
            self.bullet.setJointMotorControl2(
                robot, finger, pb.POSITION_CONTROL, FINGER_OPEN, force=FINGER_FORCE, maxVelocity=FINGER_SPEED
            )
        # The real hand's fingers move as one; without this a grasped object slides along the closing axis.
        gear = self.bullet.createConstraint(
            robot, FINGER_JOINTS[0], robot, FINGER_JOINTS[1], pb.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0]
        )
        self.bullet.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50)
        return robot

    def _load_furniture(self) -> tuple[int, int]:
        width, depth = TABLE.far - TABLE.near, TABLE.left - TABLE.right
        centre = ((TABLE.far + TABLE.near) / 2, (TABLE.left + TABLE.right) / 2)
        table = self._static_box(
            (width / 2, depth / 2, TABLE_THICKNESS / 2), (*centre, -TABLE_THICKNESS / 2), TABLE_COLOUR
        )
        floor = self._static_box((1.5, 1.5, 0.02), (*centre, FLOOR_Z - 0.02), FLOOR_COLOUR)
        return table, floor

    def _static_box(self, half: Vector, position: Vector, rgba: Colour) -> int:
        solid = self.bullet.createCollisionShape(pb.GEOM_BOX, halfExtents=half)
        visual = self.bullet.createVisualShape(pb.GEOM_BOX, halfExtents=half, rgbaColor=rgba)
        body = self.bullet.createMultiBody(0, solid, visual, basePosition=position)
        self.bullet.changeDynamics(body, -1, lateralFriction=0.7)
        return body

    def _start_renderer(self) -> int:
        if self.config.renderer == "tiny":
            return pb.ER_TINY_RENDERER
        import eglRenderer  # pyright: ignore[reportMissingImports]

        self.bullet.loadPlugin(eglRenderer.__file__, "_eglRendererPlugin")
        return pb.ER_BULLET_HARDWARE_OPENGL

    def _home(self) -> None:
        for joint, angle in zip(ARM_JOINTS, HOME, strict=True):
            self.bullet.resetJointState(self.robot, joint, angle)
        for finger in FINGER_JOINTS:
            self.bullet.resetJointState(self.robot, finger, FINGER_OPEN)
        self.hold_home()

    def _set_dynamics(self, placed: PlacedObject) -> None:
        rolling = placed.model.scalars.get("rolling_friction", 0.0)
        for index in placed.links.values():
            self.bullet.changeDynamics(
                placed.body,
                index,
                lateralFriction=placed.model.friction,
                rollingFriction=rolling,
                spinningFriction=rolling,  # 0 for most: it costs a fifth of a physics step
            )
            if index >= 0:  # Bullet gives every joint a velocity motor; objects move freely.
                friction = self.bullet.getJointInfo(placed.body, index)[7]
                self.bullet.setJointMotorControl2(placed.body, index, pb.VELOCITY_CONTROL, force=friction)

    def _urdf_file(self, model: ObjectModel) -> str:
        text = model.urdf
        if model.asset_dir:
            root = ElementTree.fromstring(text)  # noqa: S314 - made here, or vetted by `user_objects`
            for mesh in root.iter("mesh"):
                mesh.set("filename", str(Path(model.asset_dir) / mesh.get("filename", "")))
            text = xml_lines(root)
        path = self.files / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.urdf"
        if not path.exists():
            path.write_text(text)
        return str(path)

    def _frame(self, placed: PlacedObject, link: str) -> Transform:
        """Position and quaternion of a link's URDF frame in the base frame."""
        body, index = placed.body, placed.links[link]
        if index >= 0:
            return self.bullet.getLinkState(body, index, computeForwardKinematics=1)[4:6]
        # Bullet reports the centre of mass; the URDF frame is where the local inertial frame is undone.
        centre = self.bullet.getBasePositionAndOrientation(body)
        return self.bullet.multiplyTransforms(*centre, *self._base_from_mass[body])

    def _texture(self, image: NDArray[np.uint8]) -> int:
        key = hashlib.sha256(image.tobytes()).hexdigest()[:24]
        if key not in self._textures:
            path = str(self.files / f"{key}.bmp")
            cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            self._textures[key] = self.bullet.loadTexture(path)
        return self._textures[key]


def yaw_quaternion(yaw: float) -> Quaternion:
    """(x, y, z, w) of a rotation about z by `yaw` radians."""
    return (0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2)))
