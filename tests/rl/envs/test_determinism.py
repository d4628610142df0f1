"""The same seed gives the same episode in another process, whatever the order of that process's sets."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from kalie.rl.envs.levels import light_tables
from kalie.rl.envs.players import play
from kalie.rl.envs.registry import make_env

CODE = """
import sys
sys.path.insert(0, {folder!r})
from test_determinism import digests
print(*digests(), sep="\\n")
"""


def digests() -> list[str]:
    """One digest of everything that each light environment shows and gives, for each of its players."""
    found = []
    for name, (config, entries) in light_tables().items():
        env, digest = make_env(config), hashlib.sha256()
        for entry in entries:
            for seed in (0, 7):
                episode = play(env, entry.policy, seed)
                for turn in episode.turns:
                    digest.update(
                        f"{turn.observation.text}|{turn.response}|{turn.reward}|{turn.action}".encode()
                    )
        found.append(f"{name} {digest.hexdigest()}")
    return found


def test_episodes_are_the_same_in_another_process() -> None:
    code = CODE.format(folder=os.path.dirname(__file__))
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.splitlines() == digests()
    assert len(digests()) == len(light_tables())
