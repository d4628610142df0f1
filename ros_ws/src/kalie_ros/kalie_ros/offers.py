"""Qualities of service of recorded topics: what was offered, what to ask for, what to offer again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyEnum, QoSProfile, ReliabilityPolicy

Policy = TypeVar("Policy", bound=QoSPolicyEnum)
# A recorder keeps more than publishers do, so that it loses nothing while it writes.
RECORDER_DEPTH = 100
# Discovery does not tell how much a publisher keeps.
REPLAY_DEPTH = 10


def request(offers: Sequence[QoSProfile]) -> QoSProfile:
    """The strongest quality that every one of the publishers offers, so that each of them is heard."""
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return _profile(reliable, latched, RECORDER_DEPTH)


def to_text(offers: Sequence[QoSProfile]) -> str:
    """Offers as rosbag2 writes them, YAML."""
    return yaml.safe_dump([_plain(offer) for offer in offers], sort_keys=False)


def from_text(text: str) -> QoSProfile:
    """The strongest of the recorded offers, which reaches everyone whom one of them reached.

    Args:
        text: as rosbag2 writes it, with names or (Humble) numbers; empty for no offers.

    Raises:
        ValueError: it is something else.
    """
    try:
        offers = yaml.safe_load(text) or []
        reliability = [_policy(ReliabilityPolicy, offer["reliability"]) for offer in offers]
        durability = [_policy(DurabilityPolicy, offer["durability"]) for offer in offers]
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"offered_qos_profiles: {' '.join(str(error).split())}") from None
    best_effort = bool(offers) and all(policy == ReliabilityPolicy.BEST_EFFORT for policy in reliability)
    return _profile(not best_effort, DurabilityPolicy.TRANSIENT_LOCAL in durability, REPLAY_DEPTH)


def _profile(reliable: bool, latched: bool, depth: int) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _policy(kind: type[Policy], value: object) -> Policy:
    return kind(value) if isinstance(value, int) else kind[str(value).upper()]


def _plain(offer: QoSProfile) -> dict[str, Any]:
    return {
        "history": offer.history.name.lower(),
        "depth": offer.depth,
        "reliability": offer.reliability.name.lower(),
        "durability": offer.durability.name.lower(),
        "deadline": _time(offer.deadline),
        "lifespan": _time(offer.lifespan),
        "liveliness": offer.liveliness.name.lower(),
        "liveliness_lease_duration": _time(offer.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": offer.avoid_ros_namespace_conventions,
    }


def _time(duration: Duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 10**9)
    return {"sec": seconds, "nsec": nanoseconds}
