"""Checks that the options of many commands share."""

from __future__ import annotations

import argparse

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
