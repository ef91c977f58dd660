"""`defi eval tasks`: single tasks from seeded starts."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from defi_models.evaluation.interval import success_line, wilson_interval
from defi_models.evaluation.rollout import (
    Attempt,
    Timing,
    add_timing_arguments,
    attempt,
    check_serves,
    opened,
    say_unlearnt,
    timing_of,
)
from defi_models.files import check_place, write_json
from defi_models.inference.load import read_spec
from defi_models.options import check_at_least
from defi_sim.style import SPLITS
from defi_sim.tasks import chosen_tasks


@dataclass(frozen=True)
class Judge:
    """How single tasks are judged, in any process.

    Attributes:
        policy: A shipped name, "scripted", or a checkpoint folder.
        timing: How it is served.
        split: Whose scenes.
    """

    policy: str
    timing: Timing
    split: str

    def __call__(self, job: tuple[str, int]) -> Attempt:
        """Attempts a task in the scene of a seed."""
        world, policy = opened(self.policy)
        return attempt(world, policy, *job, self.timing, split=self.split)


class Tasks:
    """Judges a policy on single tasks."""

    help = "single tasks from seeded starts"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", default="nano", help="a shipped policy, `scripted`, or a checkpoint folder")
        parser.add_argument("--tasks", nargs="+", default=None, help="names of tasks or groups; default: all")
        parser.add_argument("--episodes", type=int, default=40, help="attempts in all, tasks in turn")
        parser.add_argument("--seed", type=int, default=0, help="of the first attempt; each has its own")
        parser.add_argument("--split", default="train", choices=list(SPLITS), help="whose scenes")
        parser.add_argument("--jobs", type=int, default=2, help="processes")
        add_timing_arguments(parser)
        parser.add_argument("--timeout-s", type=float, default=Timing().timeout_s, help="of an attempt [s]")
        parser.add_argument("--json", type=Path, default=None, help="where to write the attempts")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the attempts and prints a table.

        Raises:
            TaskError: a task is unknown.
            ConfigError: a number is out of range, or the policy is for another arm or other cameras.
            CheckpointError: there is no such policy.
        """
        check_at_least(1, args, "episodes", "jobs")
        check_at_least(0, args, "seed")
        timing = timing_of(args, timeout_s=args.timeout_s)
        check_place("--json", args.json)
        check_serves(read_spec(args.policy))
        names = [task.name for task in chosen_tasks(args.tasks)]
        say_unlearnt(args.policy, names)
        jobs = [(names[i % len(names)], args.seed + i) for i in range(args.episodes)]
        attempts: list[Attempt] = []
        try:
            with multiprocessing.get_context("spawn").Pool(min(args.jobs, len(jobs))) as pool:
                for one in pool.imap(Judge(args.policy, timing, args.split), jobs):
                    attempts.append(one)
                    asked = {"asked": args.episodes}
                    write_json(args.json, score(attempts, args.policy, args.split, args.seed) | asked)
        finally:  # also of those that were done before Ctrl-C
            if attempts:
                sys.stdout.write(f"policy {args.policy}  seed {args.seed}  scenes {args.split}\n")
                report(attempts, names)
        return 0


def report(attempts: Sequence[Attempt], names: Sequence[str]) -> None:
    """Prints success, its 95 % interval and the mean duration of successes, for each task tried and in all."""
    tried = {one.task for one in attempts}
    for name in [*(name for name in names if name in tried), ""]:
        mine = [a for a in attempts if name in ("", a.task)]
        won = [a for a in mine if a.success]
        seconds = f"  {sum(a.duration_s for a in won) / len(won):.1f} s" if won else ""
        sys.stdout.write(success_line(name or "all", len(won), len(mine), seconds))


def score(attempts: Sequence[Attempt], policy: str, split: str, seed: int) -> dict[str, Any]:
    """What `--json` writes."""
    won = sum(one.success for one in attempts)
    return {
        "policy": policy,
        "split": split,
        "seed": seed,
        "episodes": len(attempts),
        "success": won / len(attempts),
        "interval_95": list(wilson_interval(won, len(attempts))),
        "attempts": [asdict(one) for one in attempts],
    }
