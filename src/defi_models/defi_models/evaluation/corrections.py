"""`defi correct`: what a policy cannot do yet, shown by the expert from where the policy left the arm and the table.

A policy that learned from demonstrations alone never saw its own mistakes. Here it tries first, and an expert takes over
where it did not succeed, as in HG-DAgger (Kelly et al. 2019, arXiv 1810.02890); the takeovers are demonstrations to
train on beside the others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from defi_models.contract import NS_PER_S, ConfigError, Policy
from defi_models.datasets.episodes import save_episode
from defi_models.datasets.simulated import episode_of
from defi_models.evaluation.rollout import Rollout, Timing, add_timing_arguments, opened, timing_of
from defi_models.files import check_folder
from defi_models.inference.load import BACKENDS, read_spec
from defi_models.options import check_at_least
from defi_sim.play import FIRST_TASKS, play
from defi_sim.task import Task
from defi_sim.world import World

TRIES_S = (2.0, 12.0)  # how long the policy may try, drawn anew for each task: its mistakes are met early and late


@dataclass(frozen=True)
class Wanted:
    """What the workers do.

    Attributes:
        policy: A shipped name or a checkpoint folder.
        backend: What runs it.
        out: Folder of the episodes.
        in_a_row: Tasks without a reset between them.
        rate_hz: Samples a second.
        noise_m: Size of the disturbances of the expert [m].
        timing: How the policy is served; its timeout is not used.
    """

    policy: str
    backend: str
    out: Path
    in_a_row: int
    rate_hz: int
    noise_m: float
    timing: Timing


@dataclass(frozen=True)
class Outcome:
    """What came of one row of tasks: how many the policy did, and how many the expert then showed or failed at."""

    done: int
    shown: int
    failed: int


def correct(world: World, policy: Policy, wanted: Wanted, seed: int, first_task: str) -> Outcome:
    """Lets the policy try tasks in a row and saves what the expert shows where it failed."""
    rng = np.random.default_rng([seed, 2])
    done = 0

    def attempt(task: Task) -> bool:
        nonlocal done
        start = world.scene()
        steps = round(float(rng.uniform(*TRIES_S)) * NS_PER_S / policy.spec.step_ns)
        rollout = Rollout(world, policy, wanted.timing)
        text = task.instructions[int(rng.integers(len(task.instructions)))]
        took = rollout.run(text, lambda: task.success(start, world.scene()), steps, policy.spec.step_ns)
        done += took is not None
        return took is not None

    shown = failed = 0
    row = play(
        world, seed, wanted.in_a_row, first_task, rate_hz=wanted.rate_hz, noise_m=wanted.noise_m, attempt=attempt
    )
    for segment in row:
        demonstration = segment.demonstration
        if demonstration.success:
            save_episode(episode_of(demonstration), wanted.out / f"episode_{seed:06d}_{segment.index:02d}.npz")
        shown, failed = shown + demonstration.success, failed + (not demonstration.success)
    return Outcome(done, shown, failed)


def _correct(wanted: Wanted, job: tuple[int, str]) -> Outcome:
    return correct(*opened(wanted.policy, wanted.backend), wanted, *job)


class Correct:
    """Collects takeovers."""

    help = "let a policy try tasks in the simulator and record how an expert goes on where it fails"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", required=True, help="a shipped policy or a checkpoint folder")
        parser.add_argument("--backend", default="torch", choices=BACKENDS, help="what runs the policy")
        parser.add_argument("--out", type=Path, required=True, help="folder of the episodes")
        parser.add_argument("--tries", type=int, default=600, help="tasks the policy is given")
        parser.add_argument("--in-a-row", type=int, default=6, help="tasks without a reset between them")
        parser.add_argument("--seed", type=int, default=0, help="of the first row; each has its own")
        parser.add_argument("--jobs", type=int, default=2, help="processes")
        parser.add_argument("--rate-hz", type=int, default=10, help="samples a second")
        parser.add_argument("--noise-m", type=float, default=0.01, help="size of the expert's disturbances [m]")
        add_timing_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Collects; a line for each row of tasks.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: a number is out of range, or the policy needs no correction.
        """
        check_at_least(1, args, "tries", "in_a_row", "jobs", "rate_hz")
        check_at_least(0, args, "seed")
        if read_spec(args.policy).needs_scene:
            raise ConfigError(f"--policy: got {args.policy!r}, which is the expert itself, expected one that learns")
        check_folder("--out", args.out)
        args.out.mkdir(parents=True, exist_ok=True)
        wanted = Wanted(args.policy, args.backend, args.out, args.in_a_row, args.rate_hz, args.noise_m, timing_of(args))
        rows = -(-args.tries // args.in_a_row)
        jobs = [(args.seed + row, FIRST_TASKS[row % len(FIRST_TASKS)]) for row in range(rows)]
        began, outcomes = time.monotonic(), []
        with multiprocessing.get_context("spawn").Pool(min(args.jobs, rows)) as pool:
            for outcome in pool.imap_unordered(partial(_correct, wanted), jobs):
                outcomes.append(outcome)
                done, shown, failed = (sum(getattr(o, name) for o in outcomes) for name in ("done", "shown", "failed"))
                sys.stdout.write(
                    f"row {len(outcomes)}/{rows}: {done} tasks done by the policy, {shown} shown by the expert, "
                    f"{failed} failed; {(time.monotonic() - began) / 60:.1f} min\n"
                )
                sys.stdout.flush()
        return 0 if any(outcome.shown for outcome in outcomes) else 1
