"""Keys from a terminal, one by one, and one status line on it. Knows nothing of what the keys mean."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import textwrap
import tty
from typing import Any, TextIO

from defi_models.contract import DefiError

ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left"}
ESCAPE_S = 0.02  # the rest of an arrow key's sequence is there by then


WRAPPING: dict[str, Any] = {"subsequent_indent": "  ", "break_on_hyphens": False}


class TerminalError(DefiError):
    """There is no terminal, or it went away."""


class KeyTerminal:
    """Reads keys without waiting for the enter key. `open` and `close` from one thread, `read` from one other."""

    def __init__(self, keys: TextIO | None = None, screen: TextIO | None = None) -> None:
        """By default the terminal of this process."""
        self._keys, self._screen = keys or sys.stdin, screen or sys.stdout
        self._before: list | None = None
        self._line = ""

    def open(self) -> None:
        """Lets keys through one by one; Ctrl-C still interrupts.

        Raises:
            TerminalError: standard input is no terminal.
        """
        if not self._keys.isatty():
            raise TerminalError("keyboard: got no terminal on standard input, expected one; start it in a terminal")
        self._before = termios.tcgetattr(self._keys)
        tty.setcbreak(self._keys)

    def close(self) -> None:
        """Leaves the terminal as it was found."""
        if self._before is None:
            return
        before, self._before = self._before, None
        try:
            self.show("")
            termios.tcsetattr(self._keys, termios.TCSADRAIN, before)
        except (termios.error, OSError, TerminalError) as error:  # what is gone needs no restoring
            sys.stderr.write(f"keyboard: the terminal was gone before its settings were restored ({error})\n")

    def read(self, timeout_s: float) -> list[str]:
        """Keys pressed within `timeout_s`; an arrow is a word.

        Raises:
            TerminalError: the terminal went away.
        """
        if not select.select([self._keys], [], [], timeout_s)[0]:
            return []
        text = self._bytes()
        if text.endswith("\x1b") or (text[-2:] == "\x1b["):
            text += self._bytes() if select.select([self._keys], [], [], ESCAPE_S)[0] else ""
        keys: list[str] = []
        while text:
            arrow = next((sequence for sequence in ARROWS if text.startswith(sequence)), None)
            keys.append(ARROWS[arrow] if arrow else text[0])
            text = text[len(arrow or text[0]) :]
        return keys

    def _bytes(self) -> str:
        try:
            got = os.read(self._keys.fileno(), 1024)
        except OSError as error:
            raise TerminalError(f"keyboard: the terminal went away ({error})") from error
        if not got:
            raise TerminalError("keyboard: the terminal was closed")
        return got.decode("utf-8", errors="ignore")

    def say(self, text: str) -> None:
        """Writes lines that stay; those that are too long are broken between words."""
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, _columns(), **WRAPPING)]
        self._write("\r\x1b[K" + "\n".join(lines).replace("\u00a0", " ") + "\n")
        self._line = ""

    def show(self, line: str) -> None:
        """Replaces the status line, where it changed."""
        if line != self._line:
            self._line = line
            self._write(f"\r\x1b[K{line[: _columns()]}")

    def _write(self, text: str) -> None:
        try:
            self._screen.write(text)
            self._screen.flush()
        except (OSError, ValueError) as error:
            raise TerminalError(f"keyboard: the terminal went away ({error})") from error


def _columns() -> int:
    """What fits on a line without the terminal beginning another."""
    return shutil.get_terminal_size().columns - 1
