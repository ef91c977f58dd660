"""What the saved results of the comparison say: figures of each arm, and which differences are more than chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from defi_models.contract import ConfigError
from defi_models.evaluation.interval import wilson_interval
from defi_models.experiment.arms import ARMS
from defi_models.experiment.paper import AVERAGE_LENGTH as PAPER

RESULT = "result.json"  # of an arm with one seed, in its folder
# What all results of one page have in common, beside the sum of their steps.
SHARED_FACTS = ("budget", "batch", "autoencoder_steps", "data", "target_share", "split", "timing")
HELD_OUT = ("held_out_translation_mm", "held_out_rotation_rad")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Outcome:
    """All seeds of one arm.

    Attributes:
        results: What was saved, a seed each.
    """

    results: Sequence[Mapping[str, Any]]

    @property
    def label(self) -> str:
        """For the table."""
        return str(self.results[0]["label"])

    @property
    def seeds(self) -> list[int]:
        """In order."""
        return sorted(result["seed"] for result in self.results)

    @property
    def count(self) -> int:
        """Attempts of all seeds."""
        return sum(len(result["attempts"]) for result in self.results)

    @property
    def successes(self) -> int:
        """Of all seeds."""
        return sum(attempt["success"] for result in self.results for attempt in result["attempts"])

    @property
    def success(self) -> float:
        """Share of attempts."""
        return self.successes / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of it, which knows of attempts and not of seeds."""
        return wilson_interval(self.successes, self.count)

    def held_out(self, name: str) -> tuple[float, float | None]:
        """Mean over seeds of a held-out error, and its standard deviation where there are several."""
        values = [result["held_out"][name] for result in self.results]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def attempts(self) -> dict[tuple[int, str, int, str], bool]:
        """(seed of the run, task, seed of the scene, what was asked) -> whether it was done."""
        return {
            (result["seed"], one["task"], one["seed"], one["instruction"]): bool(one["success"])
            for result in self.results
            for one in result["attempts"]
        }

    def per_task(self) -> dict[str, tuple[int, int]]:
        """Task -> how often it was done, how often it was tried."""
        counts: dict[str, tuple[int, int]] = {}
        for (_, task, *_), success in self.attempts.items():
            done, tried = counts.get(task, (0, 0))
            counts[task] = done + success, tried + 1
        return counts


def read_result(path: Path) -> dict[str, Any]:
    """One arm with one seed, as it was saved.

    Raises:
        ConfigError: the file is damaged or no such result.
    """
    wanted = {*SHARED_FACTS, "arm", "label", "seed", "steps", "parameters", "stage_3_seconds", "attempts"}
    wanted |= {"held_out", "held_out_tasks"}
    try:
        result = json.loads(path.read_text())
        missing = sorted(wanted - set(result))
        tried = not missing and all(
            {"task", "seed", "success", "instruction"} <= set(one) for one in result["attempts"]
        )
        known = not missing and result["arm"] in ARMS and bool(result["attempts"])
        counted = not missing and sum(map(int, result["steps"].values())) > 0
        measured = not missing and all(float(result["held_out"][name]) >= 0 for name in HELD_OUT)
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ConfigError(f"{path}: got {error!r}, expected a result of `defi claim`; delete it") from error
    if not (tried and known and counted and measured):
        lacking = f"nothing of {', '.join(missing)}" if missing else "an unknown arm, no attempts or no steps"
        raise ConfigError(f"{path}: got {lacking}, expected a result of `defi claim`; delete it")
    return result


def read_outcomes(out: Path) -> dict[str, Outcome]:
    """The arms that have results, in the order of `ARMS`.

    Raises:
        ConfigError: a file is damaged, or two results are not of one experiment.
    """
    results = {path: read_result(path) for path in sorted(out.glob(f"seed_*/*/{RESULT}"))}
    for path, result in results.items():
        first, one = next(iter(results.items()))
        differ = [name for name in SHARED_FACTS if result[name] != one[name]]
        differ += ["steps"] * (sum(result["steps"].values()) != sum(one["steps"].values()))
        mate = next(other for other in results.values() if other["seed"] == result["seed"])
        differ += ["scenes or sentences"] * (_asked(mate) != _asked(result))
        if differ:
            raise ConfigError(
                f"--out {out}: got results with another {', '.join(differ)} in {path} than in {first}, expected those of "
                "one experiment; give each its own folder"
            )
    arms = {name: [result for result in results.values() if result["arm"] == name] for name in ARMS}
    return {name: Outcome(found) for name, found in arms.items() if found}


def _asked(result: Mapping[str, Any]) -> set[tuple[str, int, str]]:
    return {(one["task"], one["seed"], one["instruction"]) for one in result["attempts"]}


def difference_interval(pairs: Sequence[tuple[bool, bool]], comparisons: int = 1) -> tuple[float, float]:
    """The 95 % interval of the difference of two success rates that were tried on the same scenes.

    Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10: from the Wilson intervals of both and their
    correlation, corrected for continuity.

    Args:
        pairs: Whether one and the other succeeded, a scene each.
        comparisons: How many such intervals are to hold together (Bonferroni).
    """
    z, count = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * comparisons)), len(pairs)
    both, one, other, neither = (sum(pair == kind for pair in pairs) for kind in product((True, False), repeat=2))
    rates = (both + one) / count, (both + other) / count
    (low, high), (other_low, other_high) = (wilson_interval(both + won, count, z) for won in (one, other))
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    crossed = both * neither - one * other
    phi = (max(crossed - count / 2, 0) if crossed > 0 else crossed) / math.sqrt(margins) if margins else 0.0

    def apart(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2))

    middle = rates[0] - rates[1]
    return (
        middle - apart(rates[0] - low, other_high - rates[1]),
        middle + apart(high - rates[0], rates[1] - other_low),
    )


def verdict(both: Outcome, other: Outcome, comparisons: int) -> str:
    """What "both" gained over another arm, by the scenes that both tried, and whether that is more than chance."""
    mine, theirs = both.attempts, other.attempts
    shared = sorted(mine.keys() & theirs.keys())
    said = f"Both pretrained against {other.label}"
    if not shared:
        return f"{said}: not compared, no seed has a result of both."
    low, high = difference_interval([(mine[scene], theirs[scene]) for scene in shared], comparisons)
    gain = sum(mine[scene] - theirs[scene] for scene in shared) / len(shared)
    if low > 0:
        meaning = "for pretraining both, by more than the chance of these scenes"
    elif high < 0:
        meaning = "against pretraining both, by more than the chance of these scenes"
    else:
        meaning = "not told from the chance of these scenes"
    apart = "" if both.seeds == other.seeds else f" (seeds {', '.join(sorted({str(scene[0]) for scene in shared}))})"
    arm = str(other.results[0]["arm"])
    printed = f"{PAPER['both']} against {PAPER[arm]} on CALVIN" if arm in PAPER else "no figure of this arm"
    gained = f"{100 * gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] of success"
    return f"{said}{apart}: {gained}: {meaning}. The paper has {printed}."


def verdicts(outcomes: Mapping[str, Outcome]) -> list[str]:
    """One sentence a comparison, and which arms have no result."""
    if "both" not in outcomes:
        return ["The arm with both halves pretrained has no result yet, so nothing is compared."]
    others = [outcome for name, outcome in outcomes.items() if name != "both"]
    said = [verdict(outcomes["both"], other, len(others)) for other in others]
    missing = [arm.label for name, arm in ARMS.items() if name not in outcomes]
    return [*said, f"No result yet: {'; '.join(missing)}."] if missing else said


def order(outcomes: Mapping[str, Outcome]) -> str:
    """The order of the arms by success beside that of the paper's table."""
    names = sorted(outcomes, key=lambda name: -outcomes[name].success)
    paper = [name for name in sorted(PAPER, key=lambda name: -PAPER[name]) if name in outcomes]
    ours = [name for name in names if name in PAPER]
    rates = [outcomes[name].success for name in ours]
    strict = len(set(rates)) == len(rates)
    listed = f"{names[0]} ({outcomes[names[0]].success:.0%})"
    for before, name in pairwise(names):
        sign = "=" if outcomes[before].success == outcomes[name].success else ">"
        listed += f" {sign} {name} ({outcomes[name].success:.0%})"
    if len(paper) < 2:
        return f"By success: {listed}. The paper's table has too few of these for an order to compare."
    told = " > ".join(f"{name} ({PAPER[name]:.2f})" for name in paper)
    agrees = "with equal rates, so no order to compare" if not strict else "the same" if ours == paper else "another"
    return f"By success: {listed}. The paper's order (average length on CALVIN): {told}; here it is {agrees}."
