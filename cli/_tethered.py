"""Runs a module as `python -m` does, and ends it soon after the process that started it is gone.

    python -m kalie.cli._tethered PARENT MODULE ARGUMENTS...

The module gets SIGTERM first, so that a node which moves an arm can stop it; SIGKILL follows.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

PERIOD = 0.2
GRACE = 8.0


def watch(parent: int) -> None:
    """Return never: end this process once `parent` is no longer its parent."""
    while os.getppid() == parent:
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the module named on the command line in this process."""
    _, parent, module, *arguments = sys.argv
    threading.Thread(target=watch, args=(int(parent),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
