"""A fault, what came of it, and the page that tells all of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NOT_TRIED = "was not moving"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What goes wrong.
        mode: Who moves the arm before: policy, person, nobody or stopped (a stop is in force).
        inject: Puts it in, given the rig; returns what takes it out again, or None.
        reason: Pattern that the reason given must match: in control_state, or, where the bridge is gone, the supervisor's.
        goes_on: Whether the arm may go on, because the fault is refused or harmless; the reason may then be a diagnostic.
        told_s: How long after the rest the reason is read [s]: what is only then known is told only then.
    """

    name: str
    mode: str
    inject: Callable[[Any], Callable[[], Any] | None]
    reason: str
    goes_on: bool = False
    told_s: float = 1.1  # a second of diagnostics


@dataclass(frozen=True)
class Result:
    """What came of a fault.

    Attributes:
        fault: Its name.
        where: What it was put into: graph, robot or core.
        before: Who moved the arm.
        arm: What the arm did.
        rest_s: Time from the fault to rest [s]; None: it did not rest.
        reason: The reason given.
        cause: What the nodes said on /diagnostics.
        violations: Commands outside a limit meanwhile.
        good: Whether it ended as it must.
        load: Load average of the last minute then.
    """

    fault: str
    where: str
    before: str
    arm: str
    rest_s: float | None
    reason: str
    cause: str
    violations: int
    good: bool
    load: float


def judge(fault: Fault, where: str, rest_s: float | None, reason: str, cause: str, violations: int) -> Result:
    """The result of a fault that was tried."""
    if fault.goes_on and not re.search(fault.reason, reason):
        reason = cause or reason  # an arm that goes on need not say why; the nodes do
    good = re.search(fault.reason, reason) is not None and violations == 0 and (rest_s is not None or fault.goes_on)
    stood = fault.mode in ("nobody", "stopped")
    arm = "went on" if rest_s is None else "stayed at rest" if stood else "came to rest"
    return Result(
        fault.name, where, fault.mode, arm, rest_s, reason, cause, violations, good, round(os.getloadavg()[0], 1)
    )


def not_tried(fault: Fault, where: str, why: str) -> Result:
    """The result of a fault whose arm could not be made to move: neither good nor proven bad, so not good."""
    return Result(fault.name, where, fault.mode, NOT_TRIED, None, why, "", 0, False, round(os.getloadavg()[0], 1))


def out(text: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(result: Result) -> None:
    """One line a fault."""
    word = "good" if result.good else "BAD "
    rest = "" if result.rest_s is None else f" after {result.rest_s:.2f} s"
    out(f"{word} {result.fault}: {result.arm}{rest}: {result.reason} [{result.cause}]")


def table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    lines = [
        "| fault | where | moved by | the arm | at rest after | reason given | good |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        rest = "-" if one.rest_s is None else f"{one.rest_s:.2f} s"
        reason = re.sub(r"[;.] [Ss]ee /\S+", "", one.reason or one.cause).replace("|", "/").replace("\n", " ")
        good = "yes" if one.good else "**no**"
        lines.append(f"| {one.fault} | {one.where} | {one.before} | {one.arm} | {rest} | {reason} | {good} |")
    return "\n".join(lines)


def page(results: Sequence[Result], nice: int | None = None) -> str:
    """docs/faults.md; `nice` is the niceness inference had, None: the robot file's."""
    first = (
        ""
        if nice is None
        else f" Others\nused the machine too, so inference ran at niceness {nice}, not at the robot file's."
    )
    untried = sum(one.arm == NOT_TRIED for one in results)
    good = sum(one.good for one in results)
    rests = [one.rest_s for one in results if one.rest_s is not None and one.arm == "came to rest"]
    loads = [one.load for one in results]
    return (
        "# Faults, and what the arm did\n\n"
        "Made by `python bench/faults.py --markdown docs/faults.md`, in one go or in pieces; do not edit. Faults marked\n"
        "*graph* were put into the "
        "running graph of the simulated Franka (those of cameras under the policy that looks through them), those marked\n"
        "*robot* into a robot without a scene that speaks the interfaces of its driver, in front of the arm bridge's\n"
        "process, and those marked *core* into the arm bridge's core alone. A fault before which the arm was not moving, or\n"
        "whose task was over just then, was tried again, at most twice.\n\n"
        f"Of {len(results)} faults {good} ended as they must: at rest with the reason of the fault, or refused by name while the arm\n"
        f"goes on, and no command outside a limit; {len(results) - good - untried} did not, and {untried} could not be tried, because the arm did not\n"
        "move before. At rest means that nothing is commanded and that the measured joints stand still. Of CPU starvation\n"
        "and a full disk only the limits are judged. Time to rest is counted from the fault: median "
        f"{float(np.median(rests)):.2f} s,\nlongest {max(rests):.2f} s. The reason is what `control_state` says about a second later.\n\n"
        f"Load average of the minute before each fault: median {float(np.median(loads)):.1f}, highest {max(loads):.1f}, on {os.cpu_count()} cores.{first}\n"
        "On a busy machine inference is late and its processes are taken for dead, so an arm may rest for another reason than\n"
        "the fault; such a row counts as not good, whatever the arm did.\n\n"
        f"{table(results)}\n"
    )
