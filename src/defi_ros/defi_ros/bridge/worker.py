"""A thread with an owner: named, stopped by its owner, joined with a timeout."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker:
    """Runs `body(stop)` in a thread until it returns; the body must return soon after `stop` is set.

    Args:
        name: Name of the thread, for debuggers and messages.
        body: The work; gets the event that asks it to stop.
        on_failure: Called in the thread with what the body raised, when it raised.
    """

    def __init__(
        self, name: str, body: Callable[[threading.Event], None], on_failure: Callable[[str, Exception], None]
    ):
        self.name = name
        self._body = body
        self._on_failure = on_failure
        self._stop = threading.Event()
        # A daemon, so that a body stuck in foreign code cannot keep the process alive after its owner gave up on it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread; once."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._body(self._stop)
        except Exception as error:  # whatever it was, the owner must hear of it
            self._on_failure(self.name, error)

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Asks the body to return and waits; False when it is still running after `timeout_s`. Idempotent."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()
