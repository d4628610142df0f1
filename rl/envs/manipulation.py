"""`kalie/Manipulation-v0`: the five tasks of the arm as multi-turn episodes.

The agent sees the camera's picture and the instruction, and answers one JSON object: the five keypoints in
thousandths of the image, optional scalars (`affordance.parse`), optional `thoughts`, and optionally the
`primitive` that is to use the keypoints (the task's own by default). The motion is planned as a whole, then
runs behind the safety gate. Reward 1 and the end when the simulator's state says that the goal holds. After
a failed try the arm lets go and comes home, and the agent sees why it failed and what the scene looks like
now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...affordance.model import Prediction
from ...affordance.parse import format_reply, parse_reply
from ...affordance.schema import Affordance, InvalidKeypoints
from ...sim.annotate import ClickNoise, clicked, random_affordance
from ...sim.appearance import VARIATIONS
from ...sim.episode import Episode, act
from ...sim.registry import Registry, task
from ...sim.retry import PRIMITIVES, NoWayHome, Primitive, come_home, look_again, true_affordance
from ...sim.staging import StagedScene, StagingError, stage
from ...sim.world import World
from ..types import Json, Observation
from .answers import THOUGHTS, read_fields
from .base import AgentEnv, EnvironmentFailure, InvalidResponse, Outcome, TurnEnv
from .drawing import resized
from .manipulation_config import ManipulationConfig
from .players import Player

PRIMITIVE = "primitive"
INSTRUCTION = "Instruction: "
NO_POINTS = Affordance()
EXPLANATION = (
    "A robot arm over a table, seen from its camera. Say where it should act, as points [x, y] in "
    "thousandths of the picture, x to the right, y down: grasp (where the gripper closes), function (the "
    "part of the held object that does the work), target (what it acts on), pre_contact and post_contact "
    "(where it passes before and after). Write null for a point that is not needed. You may add whole "
    "numbers: pre_height, target_height, post_height and gripper_width in millimetres, grasp_yaw and "
    f'tool_tilt in degrees; and "primitive": one of {", ".join(PRIMITIVES)}.'
)
FORM = '"grasp": [x, y], "function": [x, y], "target": [x, y], "pre_contact": [x, y], "post_contact": [x, y]'


class ManipulationEnv(TurnEnv):
    """A task of the arm as turns.

    `reset(options={"scene_seed": n})` stages that very scene, e.g. one of the benchmark's.

    Attributes:
        staged: the scene as it is now.
        last: the record of the last try.

    Args:
        config: which task, how often it may be tried.
        registry: of object families; the project's own by default.
    """

    invalid_rule = "nothing moves, the reward of a failed try; the try counts"

    def __init__(self, config: ManipulationConfig | None = None, registry: Registry | None = None) -> None:
        self.config = config or ManipulationConfig()
        side = self.config.image_size
        super().__init__((format_reply(NO_POINTS),), self.config.tries, ((side, side, 3),))
        self.world = World()
        self._registry = registry
        self._staged: StagedScene | None = None
        self.last: Episode | None = None
        self._report = ""

    @property
    def staged(self) -> StagedScene:
        """The scene as the arm finds it now."""
        if self._staged is None:
            raise RuntimeError("staged: call reset first")
        return self._staged

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Stage the seed's scene."""
        drawn = int(self.np_random.integers(2**31))
        seed = int(options.get("scene_seed", drawn))
        try:
            self._staged = self._stage(seed)
        except StagingError as error:
            raise EnvironmentFailure(f"reset: {error}") from error
        self.last, self._report = None, ""
        families: dict[str, Json] = {str(kind): name for kind, name in self.staged.families.items()}
        return {"instruction": self.staged.scene.instruction, "scene_seed": seed, "families": families}

    def _stage(self, seed: int) -> StagedScene:
        config = self.config
        variation = None if config.variation is None else VARIATIONS[config.variation]
        return stage(self.world, task(config.task), config.split, seed, self._registry, variation)

    def observe(self) -> Observation:
        """The picture, the instruction, and why the last try failed."""
        parts = [self._explanation()] if self.config.instructions else []
        parts.append(f"{INSTRUCTION}{self.staged.scene.instruction}.")
        parts += [self._report] if self._report else []
        # A copy: the agent's records must not share memory with the simulator's frame.
        picture = resized(self.staged.frame.rgb, self.config.image_size).copy()
        return Observation("\n".join(parts), (picture,))

    def _explanation(self) -> str:
        thoughts = f'"{THOUGHTS}": "your reasoning", ' if self.config.thoughts else ""
        return f"{EXPLANATION}\nAnswer with one JSON object: {{{thoughts}{FORM}}}"

    def read(self, response: str) -> Json:
        """The keypoints (fractions of the image) and the primitive, as JSON."""
        fields = read_fields(response)
        fields.pop(THOUGHTS, None)
        primitive = fields.pop(PRIMITIVE, None)
        if primitive is not None and primitive not in PRIMITIVES:
            raise InvalidResponse(f"{PRIMITIVE}: {primitive!r} is none of {', '.join(PRIMITIVES)}"[:300])
        try:
            affordance = parse_reply(json.dumps(fields))
        except InvalidKeypoints as error:
            raise InvalidResponse(str(error)) from None
        points: dict[str, Json] = dict(affordance.to_json())
        return {PRIMITIVE: None if primitive is None else str(primitive), "affordance": points}

    def act(self, action: Json, response: str) -> Outcome:
        """Plan, move behind the safety gate, judge; come home after a failure."""
        assert isinstance(action, Mapping)  # noqa: S101  what read returned
        points = action["affordance"]
        assert isinstance(points, Mapping)  # noqa: S101
        prediction = Prediction(Affordance.from_json(points))
        self.last = act(self.world, self.staged, prediction, primitive=_primitive(action[PRIMITIVE]))
        facts: dict[str, Json] = {"reason": self.last.reason, "measures": dict(self.last.measures)}
        if self.last.success:
            return Outcome(1.0 - self.config.step_cost, terminated=True, success=True, facts=facts)
        return self._failed(facts)

    def _failed(self, facts: Mapping[str, Json]) -> Outcome:
        """What a failed try leads to: the arm at home and another look, or the end where it cannot return."""
        assert self.last is not None  # noqa: S101  act has set it
        self._report = f"Try {self.turns} failed: {self.last.reason}."
        try:
            if self.last.simulated_seconds > 0 and self.turns < self.max_turns:
                come_home(self.world)
        except NoWayHome as error:
            return Outcome(0.0 - self.config.step_cost, terminated=True, facts={**facts, "stuck": str(error)})
        self._staged = look_again(self.world, self.staged)
        return Outcome(0.0 - self.config.step_cost, facts=facts)

    def refuse(self, response: str, error: str) -> Outcome:
        """Nothing moves."""
        self._report = f"Try {self.turns} failed: the answer is invalid ({error[:200]})."
        return Outcome(0.0 - self.config.step_cost)

    def world_state(self) -> Json:
        """Joint positions and every object's pose, as the simulator holds them."""
        joints, _ = self.world.joint_states()
        poses = [self.world.pose(placed).ravel().tolist() for placed in self.staged.scene.objects.values()]
        return [joints.tolist(), poses]

    def close(self) -> None:
        """Free the simulator."""
        self.world.close()


def _primitive(name: Json) -> Primitive | None:
    for primitive in PRIMITIVES:
        if name == primitive:
            return primitive
    return None


def manipulation(env: AgentEnv) -> ManipulationEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, ManipulationEnv):
        raise TypeError(f"expected a ManipulationEnv, got {type(bare).__name__}")
    return bare


def instruction_in(observation: Observation) -> str:
    """What the arm is asked to do in an observation.

    Raises:
        ValueError: it says nothing of that.
    """
    for line in observation.text.splitlines():
        if line.startswith(INSTRUCTION):
            return line.removeprefix(INSTRUCTION).removesuffix(".")
    raise ValueError(f"the observation has no line that begins with {INSTRUCTION!r}")


def response_of(affordance: Affordance, thoughts: str = "") -> str:
    """An affordance as the answer that the environment reads."""
    points = json.loads(format_reply(affordance))
    return json.dumps({THOUGHTS: thoughts, **points} if thoughts else points)


def demonstrator(pixels: float = 0.0, yaw: float = 0.0) -> Player:
    """A player who answers with the true keypoints, as clicked by someone this exact, and says what they are.

    Args:
        pixels: standard deviation of a click at an image side of 256.
        yaw: standard deviation of the grasp direction, radians.
    """
    noise = ClickNoise(pixels, yaw)

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        game = manipulation(env)
        true = true_affordance(game.world, game.staged)
        # Out of the camera's view: nothing can be pointed at any more; the try is given away.
        if true is None:
            return response_of(NO_POINTS, "what is needed is out of view" if game.config.thoughts else "")
        answer = clicked(true, game.staged.frame.rgb.shape[:2], noise, rng)
        return response_of(answer, described(answer) if game.config.thoughts else "")

    return respond


def described(affordance: Affordance) -> str:
    """What an affordance means to do, in words, with the points that it names."""
    points = json.loads(format_reply(affordance))
    at = {name: point for name, point in points.items() if isinstance(point, list)}
    words = {
        "grasp": "close the gripper at {}",
        "function": "work with the part at {}",
        "pre_contact": "come from {}",
        "target": "act on {}",
        "post_contact": "end at {}",
    }
    return ", ".join(form.format(at[name]) for name, form in words.items() if name in at)


oracle: Player = demonstrator()


def random_points(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: random points on random objects, the true scalars but the yaw."""
    game = manipulation(env)
    return response_of(random_affordance(game.staged.frame, game.staged.affordance, rng))
