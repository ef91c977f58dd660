"""A bar with the time left, for people who watch a terminal; in a file or a pipe there is none, and lines are written."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """A bar on a terminal."""

    def __call__(self, done: int, total: int, figures: str, /) -> None:
        """Shows that `done` of `total` are done, and the figures of late."""
        ...


@contextlib.contextmanager
def bar(title: str) -> Iterator[Bar | None]:
    """A bar called `title` while it is open; None where the output is no terminal."""
    if not sys.stdout.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns) as shown:
        task = shown.add_task("", total=None)

        def show(done: int, total: int, figures: str) -> None:
            shown.update(task, completed=done, total=total, description=figures)

        yield show
