"""Press the emergency stop of the control node, or release it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from ._ros_client import NAMESPACE, NoAnswer, asker
from ._ros_env import enter_ros
from ._verb import Verb

# Seconds until the node must have answered.
ANSWER = 3.0


@dataclass(frozen=True)
class RosStopConfig:
    """Keys of `kalie ros stop`.

    Attributes:
        reset: release the stop instead; nothing moves without a new goal.
    """

    reset: bool = False


def main(cfg: RosStopConfig) -> int:
    """Call the service; 1 when the node refuses."""
    enter_ros()
    from std_srvs.srv import Trigger

    name = f"{NAMESPACE}/control/{'reset_emergency_stop' if cfg.reset else 'emergency_stop'}"
    with asker("client") as ask:
        try:
            answer = ask.call("control node", Trigger, name, Trigger.Request(), ANSWER)
        except NoAnswer as error:
            raise NoAnswer(f"{error}: use the robot's own stop") from None
    Console(highlight=False).print(escape(answer.message))
    return int(not answer.success)


VERB = Verb(RosStopConfig, main, examples=("kalie ros stop", "kalie ros stop reset=true"))
