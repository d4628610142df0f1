"""Stage the simulated arm's scene anew, or another one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from ._ros_client import NAMESPACE, Asker, asker
from ._ros_env import enter_ros
from ._verb import Verb

WHO = "simulated arm"
# Seconds until the node must have answered: staging takes some.
ANSWER = 60.0


@dataclass(frozen=True)
class RosResetConfig:
    """Keys of `kalie ros reset`.

    Attributes:
        seed: of the scene; null for the same scene again.
    """

    seed: int | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed} must be in [0, 2**31)")


def main(cfg: RosResetConfig) -> int:
    """Call the service; print the new scene's instruction, or why there is none (exit code 1)."""
    enter_ros()
    from std_srvs.srv import Trigger

    with asker("reset") as ask:
        if cfg.seed is not None:
            _set_seed(ask, cfg.seed)
        answer = ask.call(WHO, Trigger, f"{NAMESPACE}/sim_arm/reset", Trigger.Request(), ANSWER)
    Console(highlight=False).print(escape(answer.message))
    return int(not answer.success)


def _set_seed(ask: Asker, seed: int) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    request = SetParameters.Request(parameters=[Parameter("seed", value=seed).to_parameter_msg()])
    answer = ask.call(WHO, SetParameters, f"{NAMESPACE}/sim_arm/set_parameters", request, ANSWER)
    (result,) = answer.results
    if not result.successful:
        raise ValueError(f"seed={seed}: {result.reason}")


VERB = Verb(RosResetConfig, main, examples=("kalie ros reset", "kalie ros reset seed=7"))
