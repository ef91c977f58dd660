"""Where a run takes place: its folder for logs, its ROS domain, and the environment that every process of it sees."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from defi_models.contract import ConfigError
from defi_ros.bringup import graph_environment
from defi_ros.up.domain import reserved_domain

DOMAIN_VARIABLE = "ROS_DOMAIN_ID"
HIGHEST_DOMAIN = 232  # the DDSI-RTPS specification's port numbers end there


@contextmanager
def surroundings(*, sim: bool) -> Iterator[Path]:
    """Prepares this process' environment for a run and gives the run's folder; all is as before after the block.

    What the user has set stays. A simulated graph gets a ROS domain of its own where none is set; a real robot's
    controllers are somewhere already, so there ROS's default holds.

    Raises:
        ConfigError: ROS_DOMAIN_ID is no domain.
        NoDomainError: every domain is in use.
    """
    wanted = graph_environment()
    folder = new_run_folder()
    wanted["ROS_LOG_DIR"] = str(folder / "ros")
    with ExitStack() as stack:
        if check_domain(os.environ.get(DOMAIN_VARIABLE, "")) is None and sim:
            wanted[DOMAIN_VARIABLE] = str(stack.enter_context(reserved_domain()))
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update({name: value for name, value in wanted.items() if not before[name]})
        try:
            yield folder
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def check_domain(text: str) -> int | None:
    """The domain a text names, None for an empty one.

    Raises:
        ConfigError: it is no number or out of range.
    """
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) > HIGHEST_DOMAIN:
        raise ConfigError(f"{DOMAIN_VARIABLE}: got {text!r}, expected a whole number 0..{HIGHEST_DOMAIN}")
    return int(text)


def new_run_folder() -> Path:
    """A new folder for the logs of one run: under $XDG_STATE_HOME or ~/.local/state, else the temporary folder."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    runs = Path(state) / "defi" / "runs"
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}"
    try:
        (runs / name / "ros").mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="defi-run-"))
    return runs / name
