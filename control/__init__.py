"""Primitives, kinematics, trajectories, the safety gate, arms."""
