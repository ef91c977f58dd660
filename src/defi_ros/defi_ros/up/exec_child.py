"""Becomes another program after tying itself to its parent. Run as a script with the standard library alone.

    python -I -S exec_child.py <parent pid> <nice> <program> [argument ...]

A small program instead of `preexec_fn`, because a child may have to be restarted while the parent has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Asks the kernel for SIGTERM when the parent dies, raises priority, sets signals, then executes the program."""
    parent_pid, nice, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # the parent died before the death signal was set
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's `command &` starts children that ignore it
    if nice < 0:  # a node lowers its own priority, which leaves the threads of the middleware alone
        with contextlib.suppress(PermissionError):  # a higher priority than one may have is left out
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    # Where the kernel shares time by session (CONFIG_SCHED_AUTOGROUP), niceness counts only within one, and each child
    # leads its own: the session needs it too. Measured: without it, nice 10 takes as much of a busy core as nice 0.
    with contextlib.suppress(OSError):  # not Linux, not compiled in, or not permitted
        Path("/proc/self/autogroup").write_text(str(nice))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
