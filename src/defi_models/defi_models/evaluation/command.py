"""`defi eval`: judges a policy in a simulator."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol


class Kind(Protocol):
    """One way to judge a policy."""

    help: str
    """What it does, in one line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Judges, prints and writes; returns the exit code."""
        ...


# `defi eval <name>` -> module and class.
KINDS: Mapping[str, tuple[str, str]] = {
    "tasks": ("defi_models.evaluation.tasks", "Tasks"),
    "chains": ("defi_models.evaluation.chains", "Chains"),
    "calvin": ("defi_models.evaluation.calvin", "CalvinEvaluation"),
    "simpler": ("defi_models.evaluation.simpler", "SimplerEvaluation"),
    "metaworld": ("defi_models.evaluation.metaworld", "MetaWorldEvaluation"),
}


class Eval:
    """Judges a policy."""

    help = "judge a policy: `defi eval chains` for tasks in a row, `tasks` for single ones, both without ROS"

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {
            name: getattr(import_module(module), kind)() for name, (module, kind) in KINDS.items()
        }

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options of every kind."""
        parsers = parser.add_subparsers(dest="kind", required=True)
        for name, kind in self._kinds.items():
            kind.add_arguments(parsers.add_parser(name, help=kind.help, description=kind.help))

    def run(self, args: argparse.Namespace) -> int:
        """Judges the policy in the chosen way."""
        return self._kinds[args.kind].run(args)
