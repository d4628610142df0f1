"""Multi-turn reinforcement learning of vision-language agents, embodied and digital, on one substrate."""
