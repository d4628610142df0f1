"""Environments: text in, an `Observation` out; registered with Gymnasium as `kalie/<Name>-v0` on import."""

from .registry import register_envs

register_envs()
