"""What a set of finished chains says: average length, success of 1..n in a row, and how sure that is."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defi_models.evaluation.interval import length_interval, success_line, wilson_interval


@dataclass(frozen=True)
class ChainRun:
    """One chain that a policy tried.

    Attributes:
        index: Its number in the benchmark.
        tasks: Names of its tasks.
        steps: Steps of each task that was done, in order; the task after these failed, if there is one.
        wall_s: What it cost [s].
        reason: Why it ended early: that the steps did not suffice, or what the arm said.
    """

    index: int
    tasks: tuple[str, ...]
    steps: tuple[int, ...]
    wall_s: float
    reason: str = ""

    @property
    def length(self) -> int:
        """How many tasks were done in a row."""
        return len(self.steps)


@dataclass(frozen=True)
class ChainScore:
    """What several chains say.

    Attributes:
        runs: The chains in order of their numbers, all of one length.
    """

    runs: Sequence[ChainRun]

    @property
    def longest(self) -> int:
        """Tasks in a chain."""
        return len(self.runs[0].tasks)

    @property
    def lengths(self) -> list[int]:
        """How many tasks of each chain were done."""
        return [run.length for run in self.runs]

    @property
    def average_length(self) -> float:
        """Mean number of tasks done in a row."""
        return sum(self.lengths) / len(self.runs)

    @property
    def success(self) -> dict[int, float]:
        """Share of chains of which 1, 2, ... tasks were done in a row."""
        return {k: sum(length >= k for length in self.lengths) / len(self.runs) for k in range(1, self.longest + 1)}

    @property
    def per_task(self) -> dict[str, tuple[int, int]]:
        """Task -> how often it was done, how often it was tried."""
        counts: dict[str, tuple[int, int]] = {}
        for run in self.runs:
            for place, task in enumerate(run.tasks[: run.length + 1]):
                done, tried = counts.get(task, (0, 0))
                counts[task] = (done + (place < run.length), tried + 1)
        return dict(sorted(counts.items()))

    def to_mapping(self, seed: int) -> dict[str, Any]:
        """The score as `--json` writes it."""
        return {
            "average_length": self.average_length,
            "interval_95": list(length_interval(self.lengths, self.longest)),
            "success": {str(k): share for k, share in self.success.items()},
            "chains": len(self.runs),
            "seed": seed,
            "per_task": {
                task: {
                    "success": done / tried,
                    "done": done,
                    "tried": tried,
                    "interval_95": list(wilson_interval(done, tried)),
                }
                for task, (done, tried) in self.per_task.items()
            },
            "wall_s_per_chain": sum(run.wall_s for run in self.runs) / len(self.runs),
            "runs": [
                {
                    "index": run.index,
                    "tasks": list(run.tasks),
                    "length": run.length,
                    "steps": list(run.steps),
                    "reason": run.reason,
                }
                for run in self.runs
            ],
        }


def print_score(score: ChainScore, labels: Mapping[str, str]) -> None:
    """Prints the table.

    Args:
        score: What to print.
        labels: Facts to state with it, as in {"policy": "nano", "seed": "0"}.
    """
    write = sys.stdout.write
    write("  ".join(f"{name} {value}" for name, value in labels.items()) + "\n")
    for task, (done, tried) in score.per_task.items():
        write(success_line(task, done, tried))
    write("in a row " + "  ".join(f"{k}: {share:.1%}" for k, share in score.success.items()) + "\n")
    low, high = length_interval(score.lengths, score.longest)
    write(
        f"average length {score.average_length:.3f} of {score.longest}, 95 % interval [{low:.2f}, {high:.2f}], "
        f"{len(score.runs)} chains\n"
    )
