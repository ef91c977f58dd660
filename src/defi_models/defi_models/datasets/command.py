"""`defi data`: makes and inspects datasets."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


class Data:
    """Makes datasets."""

    help = "make datasets: `defi data sim` collects demonstrations in the simulator"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        kinds = parser.add_subparsers(dest="kind", required=True)
        sim = kinds.add_parser("sim", help="demonstrations by the scripted experts")
        sim.add_argument("--out", type=Path, required=True, help="folder of the episodes")
        sim.add_argument("--tasks", nargs="+", default=None, help="names of tasks or groups; default: all")
        sim.add_argument("--episodes", type=int, default=400, help="how many to try, tasks in turn")
        sim.add_argument("--seed", type=int, default=0, help="of the first episode; each has its own")
        sim.add_argument("--jobs", type=int, default=2, help="processes")
        sim.add_argument("--rate-hz", type=int, default=10, help="samples a second")
        sim.add_argument("--noise-m", type=float, default=0.01, help="size of the disturbances to recover from [m]")

    def run(self, args: argparse.Namespace) -> int:
        """Collects.

        Raises:
            TaskError: a task is unknown.
        """
        from defi_models.datasets.simulated import collect
        from defi_sim.tasks import chosen_tasks

        tasks = [task.name for task in chosen_tasks(args.tasks)]
        start = time.monotonic()

        def progress(done: int, failed: int, total: int) -> None:
            if (done + failed) % 20 == 0 or done + failed == total:
                minutes = (time.monotonic() - start) / 60
                sys.stdout.write(f"{done + failed}/{total} demonstrations, {failed} failed, {minutes:.1f} min\n")
                sys.stdout.flush()

        done, failed = collect(
            args.out,
            tasks,
            args.episodes,
            seed=args.seed,
            jobs=args.jobs,
            rate_hz=args.rate_hz,
            noise_m=args.noise_m,
            progress=progress,
        )
        sys.stdout.write(f"{done} demonstrations of {len(tasks)} tasks in {args.out}; {failed} failed\n")
        return 0 if done else 1
