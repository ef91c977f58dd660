"""What the saved results of the comparison say: figures of each arm, and which differences are more than chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defi_models.contract import ConfigError
from defi_models.evaluation.interval import wilson_interval
from defi_models.experiment.arms import ARMS

RESULT = "result.json"  # of an arm with one seed, in its folder
# Both pretrained beat either alone, by average length on CALVIN (defi-model 1.6, table 4); "neither" is not in it.
PAPER = {"both": 4.51, "gfdm_only": 4.16, "gidm_only": 3.28}


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

    def per_task(self) -> dict[str, tuple[int, int]]:
        """Task -> how often it was done, how often it was tried."""
        counts: dict[str, tuple[int, int]] = {}
        for result in self.results:
            for one in result["attempts"]:
                done, tried = counts.get(one["task"], (0, 0))
                counts[one["task"]] = done + one["success"], tried + 1
        return counts


def read_outcomes(out: Path) -> dict[str, Outcome]:
    """The arms that have results, in the order of `ARMS`.

    Raises:
        ConfigError: a file is damaged.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for path in sorted(out.glob(f"seed_*/*/{RESULT}")):
        try:
            result = json.loads(path.read_text())
            found.setdefault(result["arm"], []).append(result)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: got {error!r}, expected a result of `defi claim`; delete it") from error
    return {name: Outcome(found[name]) for name in ARMS if name in found}


def difference_interval(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    """The 95 % interval of the difference of two success rates, given as (successes, attempts).

    Newcombe 1998 (Statistics in Medicine 17, 873-890), method 10: from the Wilson intervals of both.
    """
    rates = one[0] / one[1], other[0] / other[1]
    (low, high), (other_low, other_high) = wilson_interval(*one), wilson_interval(*other)
    middle = rates[0] - rates[1]
    return (
        middle - math.hypot(rates[0] - low, other_high - rates[1]),
        middle + math.hypot(high - rates[0], rates[1] - other_low),
    )


def verdicts(outcomes: Mapping[str, Outcome]) -> list[str]:
    """One sentence a comparison: what "both" gained over each other arm, and whether that is more than chance."""
    if "both" not in outcomes:
        return ["The arm with both halves pretrained has no result yet, so nothing is compared."]
    both, said = outcomes["both"], []
    for name, other in outcomes.items():
        if name == "both":
            continue
        low, high = difference_interval((both.successes, both.count), (other.successes, other.count))
        points = f"{100 * (both.success - other.success):+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        if low > 0:
            meaning = "the paper's direction, and more than chance"
        elif high < 0:
            meaning = "this contradicts the paper, and by more than chance"
        else:
            meaning = "not told from chance with this many attempts"
        error, other_error = (one.held_out("held_out_translation_mm")[0] for one in (both, other))
        said.append(
            f"Both pretrained against {other.label}: {points} of success: {meaning}. Its held-out error is "
            f"{'smaller' if error < other_error else 'not smaller'}: {error:.2f} against {other_error:.2f} mm."
        )
    missing = [arm.label for name, arm in ARMS.items() if name not in outcomes]
    if missing:
        said.append(f"No result yet: {'; '.join(missing)}.")
    return said


def order(outcomes: Mapping[str, Outcome]) -> str:
    """The order of the arms by success beside that of the paper's table."""
    names = sorted(outcomes, key=lambda name: -outcomes[name].success)
    paper = [name for name in sorted(PAPER, key=lambda name: -PAPER[name]) if name in outcomes]
    ours = [name for name in names if name in PAPER]
    rates = [outcomes[name].success for name in ours]
    strict = len(set(rates)) == len(rates)
    listed = " > ".join(f"{name} ({outcomes[name].success:.0%})" for name in names)
    if len(paper) < 2:
        return f"By success: {listed}. The paper's table has too few of these for an order to compare."
    told = " > ".join(f"{name} ({PAPER[name]:.2f})" for name in paper)
    agrees = "with equal rates, so no order to compare" if not strict else "the same" if ours == paper else "another"
    return f"By success: {listed}. The paper's order (average length on CALVIN): {told}; here it is {agrees}."
