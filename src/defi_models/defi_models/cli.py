"""The `defi` command: finds the subcommands that installed packages offer and runs one. Knows none of them by name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Protocol

from defi_models.contract import ConfigError, DefiError
from defi_models.options import did_you_mean

GROUP = "defi.commands"
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say


class Command(Protocol):
    """One subcommand. Offered by a package through the entry-point group `defi.commands`."""

    help: str
    """What it does, in one line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Does it; returns the exit code."""
        ...


def offered() -> Mapping[str, EntryPoint]:
    """The subcommands of the installed packages by name, unloaded."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def load(entry: EntryPoint) -> Command:
    """The subcommand behind an entry point.

    Raises:
        ConfigError: its module, or something that the module imports, is missing.
    """
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"defi {entry.name}: got {error!r} while importing {entry.value}, expected an importable command; "
            "something it needs is not installed: run `make setup`"
        ) from error
    return loaded() if isinstance(loaded, type) else loaded


def overview(commands: Mapping[str, EntryPoint]) -> str:
    """What `defi --help` shows: each subcommand with its line of help, or why it cannot run here."""
    lines = ["usage: defi <command> [arguments]", "", "commands:"]
    for name, entry in commands.items():
        try:
            text = load(entry).help
        except ConfigError as error:
            text = f"(not available: {error.__cause__})"
        lines.append(f"  {name:<10} {text}")
    lines += ["", "`defi <command> --help` shows its arguments; `defi --version` the version."]
    return "\n".join(lines)


def choose(name: str, commands: Mapping[str, EntryPoint]) -> Command:
    """The subcommand called `name`.

    Raises:
        ConfigError: there is none; names the nearest and all that exist.
    """
    if name not in commands:
        raise ConfigError(
            f"defi: got unknown command {name!r}, expected one of {', '.join(commands) or '(none)'}{did_you_mean(name, commands)}"
        )
    return load(commands[name])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `defi <command> ...`; returns the exit code: 2 when the input was refused, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = offered()
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(overview(commands))
        return 0 if arguments else EXIT_BAD_INPUT
    if arguments[0] == "--version":
        print(f"defi {version('defi_models')}")
        return 0
    try:
        command = choose(arguments[0], commands)
        parser = argparse.ArgumentParser(prog=f"defi {arguments[0]}", description=command.help)
        command.add_arguments(parser)
        return command.run(parser.parse_args(arguments[1:]))
    except DefiError as error:
        print(f"defi: {error}" if not str(error).startswith("defi") else str(error), file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
