"""Files that appear whole or not at all, and the check before long work that its result can be written."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from defi_models.contract import ConfigError


def check_place(option: str, path: Path | None) -> None:
    """Refuses a file that cannot be written, so that hours of work are not lost at their end; None is fine.

    Raises:
        ConfigError: it is a folder, or where it would go is a file or may not be written.
    """
    if path is None:
        return
    if os.path.isdir(path):
        raise ConfigError(f"{option}: got {path}, which is a folder, expected a file to write")
    above = existing_above(path)
    if not is_writable(above):
        raise ConfigError(f"{option}: got {path}, expected a file in a folder that can be written; {above} cannot")


def check_folder(option: str, path: Path | None) -> None:
    """Refuses a folder that cannot be written to, or that is a file; None and one that is yet to be made are fine.

    Raises:
        ConfigError: so.
    """
    if path is None:
        return
    above = path if os.path.exists(path) else existing_above(path)
    if not is_writable(above):
        raise ConfigError(f"{option}: got {path}, expected a folder that can be written to; {above} cannot")


def existing_above(path: Path) -> Path:
    """The nearest of the folders above a path that is there: it, or what is made in it, holds what is written."""
    return next(folder for folder in path.absolute().parents if os.path.exists(folder))  # False where one may not look


def is_writable(folder: Path) -> bool:
    """Whether it is a folder in which something can be made."""
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to; it takes that name at the end, and goes on an error.

    Folders above that are missing are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all; folders above it that are missing are made."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | None, report: Mapping[str, Any]) -> None:
    """Writes what a command found, for people and programs; nothing where no file is given."""
    if path is not None:
        write_text(path, json.dumps(report, indent=1) + "\n")


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Within it SIGTERM ends the work as Ctrl-C does, so that what is half made is removed.

    Only the main thread hears signals; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
