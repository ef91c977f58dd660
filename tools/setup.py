"""Makes .venv ready to run DeFI: `make setup`. Repeats only what changed; a second run is instant and needs no network.

Standard library only, so that a bare Python can run it. The steps are in `installation`, what the machine must have in
`machine`, the messages in `interfaces`, and how a step runs and is remembered in `steps`.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  this file is read by the Python that is too old
    sys.exit(
        "make setup: got Python %d.%d, expected 3.10 or newer; "  # noqa: UP031
        "install one and run `make setup PYTHON=python3.11`" % sys.version_info[:2]
    )

import os
import signal
from pathlib import Path

from installation import Installation
from steps import Journal, SetupError, only_one

ROOT = Path(__file__).resolve().parents[1]
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say


def main(root: Path = ROOT) -> int:
    """Runs the steps that are due; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.pop(
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE", None
    )  # set by another environment, it would keep ours from starting
    journal = Journal(root / ".cache" / "setup.log")
    try:
        with only_one(root / ".cache" / "setup.lock") as lock:
            Installation(root, journal, lock).run()
    except SetupError as error:
        journal.show_failure(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\nmake setup: interrupted; run it again to go on, finished steps are kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
