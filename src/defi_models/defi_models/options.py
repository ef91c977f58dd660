"""Checks that the options of many commands share."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable

from defi_models.contract import ConfigError


def check_at_least(least: int, args: argparse.Namespace, *names: str) -> None:
    """Refuses numbers that are too small; options that were not given are fine.

    Args:
        least: The smallest that makes sense.
        args: What the command line gave.
        names: Of the numbers in `args`.

    Raises:
        ConfigError: one is smaller.
    """
    for name in names:
        given = getattr(args, name)
        if given is not None and given < least:
            raise ConfigError(f"--{name.replace('_', '-')}: got {given}, expected at least {least}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a refusal that names the nearest of what is known; empty when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
