"""`defi eval metaworld`: a policy on Meta-World's MT10, each task from seeded arrangements that training never saw.

An attempt succeeds when Meta-World says so at any step of an episode, as its own evaluation counts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from defi_models.contract import ConfigError
from defi_models.evaluation.environment import check_policy, follow
from defi_models.evaluation.interval import success_line, wilson_interval
from defi_models.files import check_place, write_json
from defi_models.inference.load import BACKENDS, load_policy, read_spec
from defi_models.options import check_at_least
from defi_sim.metaworld import CAMERAS, INSTALL, SENTENCES, STEP_NS, TASKS_A_SEED, MetaWorldTable
from defi_sim.optional import needed

EXPERT = "expert"
ARMS = ("sawyer",)
FIRST_SEED = 10_000  # far from those of demonstrations


@dataclass(frozen=True)
class MetaWorldScore:
    """What came of the attempts at one task.

    Attributes:
        task: Its name.
        successes: Of each arrangement in turn.
        seed: Of the arrangements.
    """

    task: str
    successes: tuple[bool, ...]
    seed: int


def judge(policy: str, backend: str, episodes: int, seed: int, horizon: int | None, task: str) -> MetaWorldScore:
    """Attempts one task from `episodes` arrangements; the policy "expert" is Meta-World's own."""
    loaded = None if policy == EXPERT else load_policy(policy, backend=backend, threads=1)
    table, successes = MetaWorldTable(task, seed, step_ns=STEP_NS if loaded is None else loaded.spec.step_ns), []
    for arrangement in range(episodes):
        table.reset(arrangement)
        if loaded is None:
            while not table.over:
                table.demonstrate(np.random.default_rng(0), 0.0)
        else:
            follow(table, loaded, SENTENCES[task][0], lambda: table.over, table.steps, horizon)
        successes.append(table.succeeded)
    table.close()
    return MetaWorldScore(task, tuple(successes), seed)


class MetaWorldEvaluation:
    """Judges a policy on Meta-World."""

    help = "Meta-World's MT10 (needs requirements/metaworld.txt)"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", required=True, help="a checkpoint folder, or `expert` for Meta-World's own")
        parser.add_argument("--backend", default="torch", choices=BACKENDS, help="what runs the policy")
        parser.add_argument("--tasks", nargs="+", default=list(SENTENCES), choices=list(SENTENCES), help="which tasks")
        parser.add_argument("--episodes", type=int, default=TASKS_A_SEED, help="of each task, at most 50")
        parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the arrangements")
        parser.add_argument("--horizon", type=int, default=None, help="steps of a chunk to carry out; default: all")
        parser.add_argument("--jobs", type=int, default=2, help="processes")
        parser.add_argument("--json", type=Path, default=None, help="where to write the figures")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the attempts and prints success with its 95 % interval.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: Meta-World is not installed, the policy does not fit it, or a number is out of range.
        """
        if not 1 <= args.episodes <= TASKS_A_SEED:
            raise ConfigError(f"--episodes: got {args.episodes}, expected 1..{TASKS_A_SEED}")
        check_at_least(1, args, "jobs", "horizon")
        check_at_least(0, args, "seed")
        check_place("--json", args.json)
        needed("metaworld", "Meta-World", INSTALL)
        if args.policy != EXPERT:
            spec = read_spec(args.policy)
            check_policy(spec, ARMS, tuple(CAMERAS), spec.step_ns, "Meta-World")
        work = partial(judge, args.policy, args.backend, args.episodes, args.seed, args.horizon)
        scores: list[MetaWorldScore] = []
        sys.stdout.write(f"policy {args.policy}  seed {args.seed}\n")
        about = {"policy": args.policy, "seed": args.seed, "horizon": args.horizon}
        about |= {"asked": args.episodes * len(args.tasks)}
        try:
            with multiprocessing.get_context("spawn").Pool(min(args.jobs, len(args.tasks))) as pool:
                for score in pool.imap_unordered(work, args.tasks):
                    _say(score.task, score.successes)
                    scores.append(score)
                    scores.sort(key=lambda one: args.tasks.index(one.task))
                    write_json(args.json, about | score_of(scores))
        finally:  # also of the tasks that were done before Ctrl-C
            if scores:
                _say("all", [success for score in scores for success in score.successes])
        return 0


def score_of(scores: Sequence[MetaWorldScore]) -> dict[str, Any]:
    """What `--json` writes of the tasks judged so far."""
    every = [success for score in scores for success in score.successes]
    return {
        "episodes": len(every),
        "success": sum(every) / len(every),
        "interval_95": list(wilson_interval(sum(every), len(every))),
        "per_task": [asdict(score) for score in scores],
    }


def _say(name: str, successes: Sequence[bool]) -> None:
    sys.stdout.write(success_line(name, sum(successes), len(successes)))
    sys.stdout.flush()
