"""A command that wants several processes starts them itself, by torchrun."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ..core.config import ConfigError


def start_processes(count: int) -> NoReturn:
    """Become torchrun, with this very command in so many processes.

    Raises:
        ConfigError: it is a sweep, whose jobs share one process.
    """
    name, *arguments = sys.argv  # as Hydra's job sees them: "kalie VERB" and the overrides
    if "--multirun" in arguments:
        raise ConfigError("a sweep cannot start several processes for each job; start the jobs one by one")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = ["-m", "kalie.cli.main", *name.split()[1:], *arguments]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launcher, *command])  # noqa: S606  this very command
