"""`defi data`: makes and inspects datasets."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from defi_models.contract import ConfigError
from defi_models.datasets.inspecting import INSPECTING, add_encode, add_info

PROGRESS_S = 10.0  # between lines of progress


class Data:
    """Makes datasets."""

    help = (
        "data sets: `sim` collects demonstrations in the simulator, `info` looks into a folder, `encode` makes latents"
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

    def run(self, args: argparse.Namespace) -> int:
        """Collects, looks or encodes.

        Raises:
            TaskError: a task is unknown.
        """
        if args.kind != "sim":
            return INSPECTING[args.kind](args)
        from defi_models.datasets.simulated import collect, collect_plays
        from defi_sim.play import FIRST_TASKS
        from defi_sim.tasks import TASKS, chosen_tasks

        chosen = {task.name for task in chosen_tasks(args.tasks)}
        if args.in_a_row < 1:
            raise ConfigError(f"--in-a-row: got {args.in_a_row}, expected at least 1")
        start = last = time.monotonic()

        def progress(done: int, failed: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_S or done + failed == total:
                last = time.monotonic()
                minutes = (last - start) / 60
                sys.stdout.write(f"{done + failed}/{total} demonstrations, {failed} failed, {minutes:.1f} min\n")
                sys.stdout.flush()

        options = {
            "seed": args.seed,
            "jobs": args.jobs,
            "rate_hz": args.rate_hz,
            "noise_m": args.noise_m,
            "progress": progress,
        }
        if args.in_a_row > 1:
            plays = -(-args.episodes // args.in_a_row)
            first = [name for name in FIRST_TASKS if name in chosen]
            done, failed = collect_plays(args.out, first, plays, args.in_a_row, **options)
        else:
            tasks = [name for name in TASKS if name in chosen]
            done, failed = collect(args.out, tasks, args.episodes, **options)
        sys.stdout.write(f"{done} demonstrations in {args.out}; {failed} failed\n")
        return 0 if done else 1
