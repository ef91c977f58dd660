"""How a step of the set-up runs, is shown, and is remembered. Knows nothing of what the steps do."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 15
STOP_TIMEOUT_S = 5.0
LISTEN_S = 0.5  # how often what a command has said is looked at

# What the log of a failed command tells, and what a person can do about it. First match wins.
CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device",
        "the disk is full; make room (6 GB are needed) and run `make setup` again",
    ),
    (
        r"name resolution|Name or service not known|NameResolutionError|NewConnectionError|ProxyError|ConnectTimeout"
        r"|Network is unreachable|Connection refused|Max retries exceeded|Temporary failure resolving"
        r"|Could not connect|Unable to connect",
        "no network, or a proxy refuses; connect and run `make setup` again, finished steps are kept",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "pip found no package {what} for Python {python} on this machine; check the network, "
        "or use another Python: `make setup PYTHON=python3.11`",
    ),
    (
        r"Python\.h: No such file|Could NOT find Python3",
        "the headers of this Python are missing; run `sudo apt-get install -y python3-dev` and `make setup` again",
    ),
)


class SetupError(Exception):
    """The set-up cannot go on; its text names what is missing and the command that mends it."""


@dataclass(frozen=True)
class Step:
    """One step of the set-up.

    Attributes:
        name: What a person sees.
        inputs: What its result depends on; it runs again when one of them changes.
        action: Does it.
    """

    name: str
    inputs: Sequence[str]
    action: Callable[[], None]


def fingerprint(parts: Iterable[str]) -> str:
    """A short name of these texts in this order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def contents(root: Path, *patterns: str) -> list[str]:
    """Path and text of each file that matches, in a fixed order."""
    files = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    return [f"{path.relative_to(root)}\n{path.read_text(encoding='utf-8')}" for path in files]


class Stamps:
    """Remembers which steps are done; one small file a step, in a folder that goes when the environment goes."""

    def __init__(self, folder: Path):
        self.folder = folder

    def is_done(self, step: Step) -> bool:
        """Whether the step has run with the same inputs."""
        stamp = self._path(step)
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint(step.inputs)

    def begin(self, step: Step) -> None:
        """Forgets the step, so that an interrupted one runs again."""
        self._path(step).unlink(missing_ok=True)

    def end(self, step: Step) -> None:
        """Remembers that the step is done; written whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self._path(step).with_suffix(".new")
        fresh.write_text(fingerprint(step.inputs), encoding="utf-8")
        fresh.replace(self._path(step))

    def _path(self, step: Step) -> Path:
        return self.folder / re.sub(r"[^a-z0-9]+", "-", step.name.lower())


class Journal:
    """Shows one line a step and keeps everything the commands said in a log."""

    def __init__(self, log: Path):
        self.log = log
        self._progress = False
        log.parent.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """Begins an empty log; the one before stays beside it with `.1` added, since it may tell why a set-up failed."""
        if self.log.is_file() and self.log.stat().st_size > 0:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        self.log.write_text("", encoding="utf-8")

    @contextmanager
    def line(self, text: str) -> Iterator[None]:
        """One line: what is being done, then how long it took or that it failed."""
        started = time.monotonic()
        self._progress = False
        print(f"  {text:<44}", end="", flush=True)
        try:
            yield
        except BaseException:
            self._end_progress(text)
            print(f"failed after {time.monotonic() - started:.1f} s", flush=True)
            raise
        self._end_progress(text)
        print(f"{time.monotonic() - started:6.1f} s", flush=True)

    def progress(self, text: str) -> None:
        """How far the step of the open line is: in its place on a terminal, else as a line of its own."""
        self._progress = True
        print(f"{_anew()}  {text:<44}", end="", flush=True)

    def _end_progress(self, text: str) -> None:
        if self._progress:
            print(f"{_anew()}  {text:<44}", end="", flush=True)

    def run(
        self,
        command: Sequence[str | Path],
        lock: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        """Runs a command, its output into the log; tells `heard` each line of it meanwhile.

        The command holds `lock` too: when this process is killed, the next set-up waits for what it left running.

        Raises:
            SetupError: it failed; says why as far as its output tells.
        """
        words = [str(word) for word in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(words)}\n")
            log.flush()
            start = log.tell()
            process = None
            try:
                with _interruptions_wait() as let_in:
                    process = subprocess.Popen(
                        words,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=dict(os.environ if env is None else env),
                        cwd=cwd,
                        pass_fds=(lock,),
                        start_new_session=True,
                        preexec_fn=let_in,  # noqa: PLW1509 - the set-up has one thread
                    )
                code = process.wait() if heard is None else _follow(process, self.log, start, heard)
            except BaseException:
                if process is not None:
                    _stop(process)
                raise
        if code != 0:
            raise SetupError(self._explain(words, code, start))

    def show_failure(self, error: SetupError) -> None:
        """The reason, where the whole log is, and its last lines."""
        print(f"\nmake setup: {error}", file=sys.stderr)

    def _explain(self, words: Sequence[str], code: int, start: int) -> str:
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            output = log.read()
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-TAIL_LINES:])
        said = f"`{' '.join(words[:4])} ...` ended with code {code}. Full log: {self.log}\n{tail}"
        for pattern, cause in CAUSES:
            found = re.search(pattern, output)
            if found:
                python = f"{sys.version_info.major}.{sys.version_info.minor}"
                return f"{cause.format(python=python, **found.groupdict())}\n  {said}"
        return said


@contextmanager
def _interruptions_wait() -> Iterator[Callable[[], object]]:
    """Within it signals that end the set-up wait, so that nothing is started and not known; yields what lets them in."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

    def let_in() -> object:
        return signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield let_in
    finally:
        let_in()


def _anew() -> str:
    return "\r" if sys.stdout.isatty() else "\n"


def _follow(process: subprocess.Popen[bytes], log: Path, start: int, heard: Callable[[str], None]) -> int:
    """Waits for a command, telling each whole line that it adds to the log from `start` on; returns its exit code."""
    code, rest = None, b""
    with log.open("rb") as said:
        said.seek(start)
        while code is None:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(LISTEN_S)
            *lines, rest = (rest + said.read()).split(b"\n")
            for line in lines:
                heard(line.decode("utf-8", errors="replace"))
    return code


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a command and whatever it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(STOP_TIMEOUT_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


@contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Waits until no other set-up works on this folder; yields the lock's file descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("make setup: another set-up is at work here; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()
