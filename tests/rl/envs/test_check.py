"""The conformance checker catches each breach of the contract and names the method and the expected value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest

from kalie.rl.envs.base import (
    InvalidResponse,
    Outcome,
    Step,
    TextSpace,
    TurnEnv,
)
from kalie.rl.envs.check import INVALID, ContractViolation, check_env
from kalie.rl.types import Json, Observation


class Counter(TurnEnv):
    """Count up to a drawn goal: the smallest environment that keeps every rule."""

    invalid_rule = "the count stays, reward -1"

    def __init__(self) -> None:
        super().__init__(("up", "down"), max_turns=6, images=((2, 2, 3),))
        self.count = self.goal = 0

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        self.count, self.goal = 0, int(self.np_random.integers(1, 4))
        return {"goal": self.goal}

    def observe(self) -> Observation:
        return Observation(f"{self.count} of {self.goal}", (np.full((2, 2, 3), self.count % 256, np.uint8),))

    def read(self, response: str) -> Json:
        if response not in ("up", "down"):
            raise InvalidResponse("neither up nor down")
        return response

    def act(self, action: Json, response: str) -> Outcome:
        self.count += 1 if action == "up" else -1
        done = self.count == self.goal
        return Outcome(float(done), terminated=done, success=done)

    def refuse(self, response: str, error: str) -> Outcome:
        return Outcome(-1.0)

    def world_state(self) -> Json:
        return [self.count, self.goal]


def changed(step: Step, **info: Json) -> Step:
    return (*step[:4], {**step[4], **info})


class UnsaidRule(Counter):
    invalid_rule = ""


class OtherActions(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Text(10)


class OtherObservations(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Discrete(2)  # pyright: ignore[reportAttributeAccessIssue]


class WrongImage(Counter):
    def observe(self) -> Observation:
        return Observation("", (np.zeros((3, 2, 3), np.uint8),))


class WrongImageLater(Counter):
    def observe(self) -> Observation:
        return super().observe() if self.turns == 0 else Observation("no picture")


class NoReset(Counter):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:  # noqa: ANN401
        return super().reset(seed=seed, options=options)[0]


class NumpyInfo(Counter):
    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        super().begin(options)
        return {"goal": np.int64(3)}  # pyright: ignore[reportReturnType]


class NumpyStepInfo(Counter):
    def act(self, action: Json, response: str) -> Outcome:
        outcome = super().act(action, response)
        return Outcome(outcome.reward, outcome.terminated, outcome.success, facts={"image": np.zeros(2)})  # pyright: ignore[reportArgumentType]


class NanInfo(Counter):
    def act(self, action: Json, response: str) -> Outcome:
        outcome = super().act(action, response)
        return Outcome(outcome.reward, outcome.terminated, outcome.success, facts={"speed": float("nan")})


class UselessExamples(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = TextSpace(("jump",))


class UnsteadySeed(Counter):
    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        super().begin(options)
        self.goal = int(np.random.default_rng().integers(1, 1_000_000))
        return {"goal": self.goal}


class UnsteadyAcrossEnvs(Counter):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        UnsteadyAcrossEnvs.made += 1
        self.number = UnsteadyAcrossEnvs.made

    def observe(self) -> Observation:
        return Observation(f"env {self.number}", super().observe().images)


class RaisesOnEmpty(Counter):
    def read(self, response: str) -> Json:
        return super().read("up" if response[0] == "u" else response)


class NoValid(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        del step[4]["valid"]
        return step


class NoAction(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        del step[4]["action"]
        return step


class ValidWithoutAction(Counter):
    def step(self, action: str) -> Step:
        return changed(super().step(action), action=None)


class InvalidWithAction(Counter):
    def step(self, action: str) -> Step:
        return changed(super().step(action), action="up")


class CallsAllValid(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        return changed(step, valid=True, action=step[4]["action"] or "up")


class RandomActionInstead(Counter):
    """What the published parser did: a random legal action credited to the text."""

    def refuse(self, response: str, error: str) -> Outcome:
        return self.act("up" if self.np_random.random() < 0.5 else "down", response)


class FirstActionInstead(Counter):
    def refuse(self, response: str, error: str) -> Outcome:
        return self.act("up", response)


class DrawsForInvalid(Counter):
    def refuse(self, response: str, error: str) -> Outcome:
        self.np_random.random()
        return Outcome(-1.0)


class MoodyAboutInvalid(Counter):
    def refuse(self, response: str, error: str) -> Outcome:
        return Outcome(-1.0 if response else 0.0)


class NanReward(Counter):
    def act(self, action: Json, response: str) -> Outcome:
        return Outcome(float("nan"))


class BoolReward(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        return (step[0], bool(step[1]), *step[2:])


class NumpyTerminated(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        return (step[0], step[1], np.bool_(step[2]), *step[3:])  # pyright: ignore[reportReturnType]


class EndsBothWays(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        return (step[0], step[1], step[2], step[2] or step[3], step[4])


class NeverEnds(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.max_turns = 10**9

    def act(self, action: Json, response: str) -> Outcome:
        return Outcome(0.0)


class GoesOnAfterTheEnd(Counter):
    def step(self, action: str) -> Step:
        self._over = False
        return super().step(action)


class GoesOnOnlyAfterTheEnd(Counter):
    def step(self, action: str) -> Step:
        if self.turns:
            self._over = False
        return super().step(action)


class NoSuccess(Counter):
    def step(self, action: str) -> Step:
        step = super().step(action)
        step[4].pop("success", None)
        return step


class FourValues(Counter):
    def step(self, action: str) -> Any:  # noqa: ANN401
        return super().step(action)[:4]


class PaintsOldPictures(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.canvas = np.zeros((2, 2, 3), np.uint8)

    def observe(self) -> Observation:
        self.canvas[:] = self.turns + 1
        return Observation("", (self.canvas,))


BROKEN: tuple[tuple[type[Counter], str], ...] = (
    (UnsaidRule, "invalid_rule: expected the rule"),
    (OtherActions, "action_space: expected a TextSpace"),
    (OtherObservations, "observation_space: expected an ObservationSpace"),
    (WrongImage, r"reset: expected an observation in ObservationSpace\(images=\(\(2, 2, 3\),\)\)"),
    (WrongImageLater, r"step: expected an observation in ObservationSpace"),
    (NoReset, r"reset: expected \(observation, info\)"),
    (NumpyInfo, "reset: info: expected JSON"),
    (NumpyStepInfo, "step: info: expected JSON"),
    (NanInfo, "step: info: expected JSON with finite numbers"),
    (UselessExamples, "action_space.examples: expected one that holds an action"),
    (UnsteadySeed, "reset: expected the same episode again for seed 0"),
    (UnsteadyAcrossEnvs, "reset: expected the same episode in another env for seed 0"),
    (RaisesOnEmpty, "step: expected any text to be taken, got IndexError"),
    (NoValid, r'step: expected info\["valid"\] as a bool'),
    (NoAction, r'step: expected info\["action"\]'),
    (ValidWithoutAction, r'step: expected info\["action"\] of a valid response'),
    (InvalidWithAction, r'step: expected info\["action"\] None when invalid'),
    (CallsAllValid, r"step: expected info\[\"valid\"\] False for ''"),
    (RandomActionInstead, r"step: expected the world as it was after ''"),
    (FirstActionInstead, r"step: expected the world as it was after ''"),
    (DrawsForInvalid, "step: expected no random draw for ''"),
    (MoodyAboutInvalid, "step: expected one reward for all invalid responses"),
    (NanReward, "step: expected reward as a finite float, got nan"),
    (BoolReward, "step: expected reward as a finite float, got "),
    (NumpyTerminated, "step: expected terminated as a bool"),
    (EndsBothWays, "step: expected terminated or truncated, not both"),
    (NeverEnds, "step: expected an end within 500 turns"),
    (GoesOnAfterTheEnd, "step: expected an error before the first reset"),
    (GoesOnOnlyAfterTheEnd, "step: expected RuntimeError after the episode's end"),
    (NoSuccess, r'step: expected info\["success"\] as a bool on the last step'),
    (FourValues, "step: expected five values"),
    (PaintsOldPictures, "step: expected earlier observations left alone"),
)


def test_an_environment_that_keeps_the_contract_passes() -> None:
    check_env(Counter)


@pytest.mark.parametrize(("broken", "message"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
def test_when_a_rule_is_broken_expect_its_message(broken: type[Counter], message: str) -> None:
    with pytest.raises(ContractViolation, match=message):
        check_env(broken)


def test_when_it_is_no_turn_env_expect_refusal() -> None:
    with pytest.raises(ContractViolation, match=r"env\.unwrapped: expected a TurnEnv"):
        check_env(lambda: gymnasium.make("CartPole-v1"))


def test_invalid_responses_cover_the_kinds_of_bad_text() -> None:
    assert "" in INVALID
    assert any(len(text) >= 100_000 for text in INVALID)
    assert any(text.count('"action"') == 2 for text in INVALID)
    assert any("\x00" in text for text in INVALID)


def test_when_the_response_is_not_text_expect_a_type_error() -> None:
    env = Counter()
    env.reset(seed=0)
    with pytest.raises(TypeError, match="step: expected the response as str, got int"):
        env.step(3)  # pyright: ignore[reportArgumentType]


def test_only_a_limit_truncates_and_only_the_game_terminates() -> None:
    env = Counter()
    env.reset(seed=0)
    ends = [env.step("")[2:4] for _ in range(6)]
    assert ends == [(False, False)] * 5 + [(False, True)]
    env.reset(seed=0)
    ends = [env.step("up")[2:4] for _ in range(env.goal)]
    assert ends[-1] == (True, False)
