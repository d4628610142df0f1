"""What can be wrong with an arm's own nodes."""

from __future__ import annotations


class NoState(RuntimeError):
    """The arm's state cannot be told; the message says what is missing or wrong."""


class ArmRefused(RuntimeError):
    """The arm's own controllers are not there, or reject what they are sent."""
