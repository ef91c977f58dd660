"""The project's long-horizon benchmark: chains of five tasks in unseen scenes, judged after every step.

Protocol as in CALVIN (Mees et al. 2022): 360 steps of the policy for each task, success asked of the oracle after
every step, the chain ends at its first failure, nothing is reset between its tasks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from defi_models.contract import NS_PER_S, Policy
from defi_models.evaluation.clip import Clip
from defi_models.evaluation.rollout import (
    Rollout,
    Timing,
    add_timing_arguments,
    check_serves,
    opened,
    say_unlearnt,
    timing_of,
)
from defi_models.evaluation.score import ChainRun, ChainScore, print_score
from defi_models.files import check_folder, check_place, write_json
from defi_models.inference.load import BACKENDS, read_spec
from defi_models.options import check_at_least
from defi_sim.chains import Chain, draw_chain
from defi_sim.style import SPLITS
from defi_sim.tasks import TASKS, Task
from defi_sim.world import World

STEPS_PER_TASK = 360


@dataclass(frozen=True)
class Benchmark:
    """Which chains, and how the policy is served.

    Attributes:
        policy: A shipped name, "scripted", or a checkpoint folder.
        seed: Of the chains.
        split: Whose scenes.
        timing: How the policy is served; its timeout is not used.
        steps: Of the policy, for one task.
        video: Folder for videos of failed tasks; None for none.
        backend: What runs the policy, see `load_policy`.
    """

    policy: str
    seed: int = 0
    split: str = "test"
    timing: Timing = field(default_factory=Timing)
    steps: int = STEPS_PER_TASK
    video: Path | None = None
    backend: str = "torch"


def run_chains(benchmark: Benchmark, chains: int, jobs: int, progress: Callable[[ChainRun], None]) -> list[ChainRun]:
    """Runs chains 0 .. `chains` - 1 in `jobs` processes; `progress` is told each as it ends.

    Raises:
        CheckpointError: there is no such policy.
        ConfigError: there is no such split.
    """
    runs = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, chains)) as pool:
        for run in pool.imap_unordered(partial(_run_numbered, benchmark), range(chains)):
            progress(run)
            runs.append(run)
    return sorted(runs, key=lambda run: run.index)


def _run_numbered(benchmark: Benchmark, index: int) -> ChainRun:
    world, policy = opened(benchmark.policy, benchmark.backend)
    return run_chain(world, policy, draw_chain(benchmark.seed, index, benchmark.split), index, benchmark)


def run_chain(world: World, policy: Policy, chain: Chain, index: int, benchmark: Benchmark) -> ChainRun:
    """Lets a policy do the tasks of one chain until one fails."""
    began = time.perf_counter()
    world.begin(chain.start, chain.style)
    rollout = Rollout(world, policy, benchmark.timing)
    took: list[int] = []
    reason = ""
    for place, name in enumerate(chain.tasks):
        clip = Clip(f"{place + 1}/{len(chain.tasks)} {TASKS[name].instructions[0]}") if benchmark.video else None
        steps = _run_task(world, rollout, TASKS[name], benchmark.steps, policy.spec.step_ns, clip)
        if steps is None:
            reason = rollout.held or f"{name}: not done in {benchmark.steps} steps"
            if clip is not None and benchmark.video is not None:
                clip.save(benchmark.video / f"chain_{index:04d}_{place + 1}_{name}.mp4", policy.spec.step_ns / NS_PER_S)
            break
        took.append(steps)
    return ChainRun(index, chain.tasks, tuple(took), time.perf_counter() - began, reason)


def _run_task(world: World, rollout: Rollout, task: Task, steps: int, step_ns: int, clip: Clip | None) -> int | None:
    """The steps one task took from the world's present state, or None when it failed."""
    start = world.scene()

    def done() -> bool:
        if clip is not None:
            clip.add(world.look())
        return task.success(start, world.scene())

    return rollout.run(task.instructions[0], done, steps, step_ns)


class Chains:
    """Judges a policy on chains of tasks."""

    help = "chains of five tasks in unseen scenes, as the long-horizon benchmark of CALVIN"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", default="nano", help="a shipped policy, `scripted`, or a checkpoint folder")
        parser.add_argument("--backend", default="torch", choices=BACKENDS, help="what runs the policy")
        parser.add_argument("--chains", type=int, default=200, help="how many chains")
        parser.add_argument("--seed", type=int, default=0, help="of the benchmark: the same seed, the same chains")
        parser.add_argument("--split", default="test", choices=list(SPLITS), help="whose scenes")
        parser.add_argument("--jobs", type=int, default=2, help="processes")
        add_timing_arguments(parser)
        parser.add_argument("--steps", type=int, default=STEPS_PER_TASK, help="of the policy, for one task")
        parser.add_argument("--video", type=Path, default=None, help="folder for videos of failed tasks (.mp4)")
        parser.add_argument("--json", type=Path, default=None, help="where to write the score")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the chains and prints the table.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: a number is out of range.
        """
        check_at_least(1, args, "chains", "jobs", "steps")
        check_at_least(0, args, "seed")
        check_place("--json", args.json)
        check_folder("--video", args.video)
        spec = read_spec(args.policy)
        check_serves(spec)
        say_unlearnt(args.policy, TASKS)
        benchmark = Benchmark(args.policy, args.seed, args.split, timing_of(args), args.steps, args.video, args.backend)
        began = time.monotonic()
        finished: list[ChainRun] = []
        facts = {"asked": args.chains, "policy": args.policy, "model": spec.fingerprint, "split": args.split}
        facts |= {"steps_per_task": args.steps, "backend": args.backend}
        facts |= {name: getattr(args, name) for name in ("latency_s", "replan_s", "blending")}

        def progress(run: ChainRun) -> None:
            finished.append(run)
            score = ChainScore(sorted(finished, key=lambda one: one.index))
            minutes = (time.monotonic() - began) / 60
            sys.stdout.write(
                f"chain {run.index}: {run.length}/{len(run.tasks)}, {run.wall_s:.0f} s{run.reason and ', '}{run.reason}; "
                f"{len(finished)}/{args.chains}, average {score.average_length:.2f}, {minutes:.1f} min\n"
            )
            sys.stdout.flush()
            write_json(args.json, score.to_mapping(args.seed) | facts)

        try:
            run_chains(benchmark, args.chains, args.jobs, progress)
        finally:  # also of those that were done before Ctrl-C
            if finished:
                score = ChainScore(sorted(finished, key=lambda one: one.index))
                print_score(score, {"policy": args.policy, "seed": str(args.seed), "scenes": args.split})
        return 0
