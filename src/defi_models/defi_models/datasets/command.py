"""`defi data`: makes and inspects datasets."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from defi_models.bar import Bar, bar
from defi_models.contract import NS_PER_S, ConfigError
from defi_models.datasets.inspecting import INSPECTING, add_encode, add_info
from defi_models.files import check_folder
from defi_models.options import check_at_least

PROGRESS_S = 10.0  # between lines of progress


class Data:
    """Makes datasets."""

    help = (
        "data sets: `sim` and `metaworld` collect demonstrations in simulators, `info` looks into a folder, "
        "`encode` makes latents"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        kinds = parser.add_subparsers(dest="kind", required=True)
        add_info(kinds)
        add_encode(kinds)
        sim = kinds.add_parser("sim", help="demonstrations by the scripted experts")
        sim.add_argument("--out", type=Path, required=True, help="folder of the episodes")
        sim.add_argument("--tasks", nargs="+", default=None, help="names of tasks or groups; default: all")
        sim.add_argument("--episodes", type=int, default=400, help="how many to try, tasks in turn")
        sim.add_argument(
            "--in-a-row",
            type=int,
            default=1,
            help="demonstrations without a reset between them, each of any task that can be done; --tasks then chooses the first ones",
        )
        sim.add_argument("--seed", type=int, default=0, help="of the first episode; each has its own")
        sim.add_argument("--jobs", type=int, default=2, help="processes")
        sim.add_argument("--rate-hz", type=int, default=10, help="samples a second")
        sim.add_argument("--noise-m", type=float, default=0.01, help="size of the disturbances to recover from [m]")

        table = kinds.add_parser("metaworld", help="Meta-World's MT10 by its own experts (requirements/metaworld.txt)")
        table.add_argument("--out", type=Path, required=True, help="folder of the episodes")
        table.add_argument("--tasks", nargs="+", default=None, help="names of tasks; default: the ten of MT10")
        table.add_argument("--episodes", type=int, default=100, help="how many of each task to try")
        table.add_argument("--seed", type=int, default=0, help="of the first 50 of each task; every 50 get another")
        table.add_argument("--rate-hz", type=int, default=20, help="samples a second: 80, 40, 20 or 10")
        table.add_argument("--jobs", type=int, default=2, help="processes")
        table.add_argument(
            "--noise", type=float, default=0.1, help="size of the disturbances, 1 being the largest action"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Collects, looks or encodes.

        Raises:
            TaskError: a task is unknown.
            ConfigError: a number is out of range, or Meta-World is wanted and not installed.
        """
        if args.kind in INSPECTING:
            return INSPECTING[args.kind](args)
        check_at_least(1, args, "episodes", "jobs", "rate_hz")
        check_at_least(0, args, "seed")
        check_folder("--out", args.out)
        make = _simulated if args.kind == "sim" else _metaworld
        with bar("demonstrations") as shown:
            done, failed = make(args, Progress(shown))
        sys.stdout.write(f"{done} demonstrations in {args.out}; {failed} failed\n")
        return 0 if done else 1


class Progress:
    """How many demonstrations are made: on a bar, or without one a line now and then.

    Args:
        shown: The bar.
    """

    def __init__(self, shown: Bar | None = None) -> None:
        self._shown = shown
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, failed: int, total: int) -> None:
        """Says how many of `total` are done and how many failed."""
        now = time.monotonic()
        if self._shown is not None:
            self._shown(done + failed, total, f"{failed} failed")
        elif now - self._last > PROGRESS_S or done + failed == total:
            self._last = now
            minutes = (now - self._start) / 60
            sys.stdout.write(f"{done + failed}/{total} demonstrations, {failed} failed, {minutes:.1f} min\n")
            sys.stdout.flush()


def _simulated(args: argparse.Namespace, progress: Progress) -> tuple[int, int]:
    """How many demonstrations on our own table succeeded and failed."""
    from defi_models.datasets.simulated import collect, collect_plays
    from defi_sim.play import FIRST_TASKS
    from defi_sim.tasks import TASKS, chosen_tasks

    chosen = {task.name for task in chosen_tasks(args.tasks)}
    check_at_least(1, args, "in_a_row")
    options: dict[str, Any] = {name: getattr(args, name) for name in ("seed", "jobs", "rate_hz", "noise_m")}
    options["progress"] = progress
    if args.in_a_row > 1:
        plays = -(-args.episodes // args.in_a_row)
        first = [name for name in FIRST_TASKS if name in chosen]
        return collect_plays(args.out, first, plays, args.in_a_row, **options)
    return collect(args.out, [name for name in TASKS if name in chosen], args.episodes, **options)


def _metaworld(args: argparse.Namespace, progress: Progress) -> tuple[int, int]:
    """How many demonstrations on Meta-World's tables succeeded and failed."""
    from defi_models.datasets.metaworld import collect
    from defi_sim.metaworld import INSTALL, SENTENCES
    from defi_sim.optional import needed

    known = needed("metaworld.policies", "Meta-World", INSTALL).ENV_POLICY_MAP
    unknown = sorted(set(args.tasks or ()) - set(known))
    if unknown:
        raise ConfigError(f"--tasks: got {unknown}, expected names among {sorted(known)}")
    options: dict[str, Any] = {name: getattr(args, name) for name in ("seed", "jobs", "noise")}
    options |= {"progress": progress, "step_ns": NS_PER_S // args.rate_hz}
    return collect(args.out, args.tasks or list(SENTENCES), args.episodes, **options)
