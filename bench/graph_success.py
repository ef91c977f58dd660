"""Success through the whole ROS graph: seeded runs of the drawer, door, lamp and LED tasks, a table for each task.

    python bench/graph_success.py --policy nano --runs 40 --seed 1000 --json success.json

The graph of the simulated Franka is started once, as `defi up franka --sim` starts it. Every run begins in a scene
of its own (seed + run), in which its task can be done, and ends with the simulator's oracle or the timeout. Tasks take
turns; each turn of a task uses the next of its instructions. A run that could not be made counts as a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defi_models.contract import DefiError
from defi_models.evaluation.interval import wilson_interval
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import InterruptedByPersonError, Interruption
from defi_ros.up.report import Report, TaskResult, write_json
from defi_ros.up.request import Request, add_arguments, checked
from defi_ros.up.status import TaskStatus
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView
from defi_sim.tasks import TASKS

TASK_NAMES = (
    "open_drawer",
    "close_drawer",
    "move_door_left",
    "move_door_right",
    "turn_on_lamp",
    "turn_off_lamp",
    "turn_on_led",
    "turn_off_led",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt: which task, asked in which words, in which scene."""

    task: str
    instruction: str
    seed: int


def plan(runs: int, seed: int, names: Sequence[str] = TASK_NAMES) -> list[Run]:
    """Tasks in turn, each time in other words, each run in a scene of its own."""
    planned = []
    for number in range(runs):
        task = TASKS[names[number % len(names)]]
        words = task.instructions[(number // len(names)) % len(task.instructions)]
        planned.append(Run(task.name, words, seed + number))
    return planned


def summary(outcomes: Sequence[tuple[Run, TaskResult]]) -> dict[str, dict[str, Any]]:
    """Successes, runs, rate, interval and median time of successes for each task and for all."""

    def row(chosen: Sequence[TaskResult]) -> dict[str, Any]:
        times_s = sorted(result.duration_s for result in chosen if result.success)
        low, high = wilson_interval(len(times_s), len(chosen))
        return {
            "successes": len(times_s),
            "runs": len(chosen),
            "rate": round(len(times_s) / len(chosen), 3) if chosen else None,
            "wilson_95": [round(low, 3), round(high, 3)],
            "median_success_s": round(times_s[len(times_s) // 2], 2) if times_s else None,
        }

    names = list(dict.fromkeys(run.task for run, _ in outcomes))
    rows = {name: row([result for run, result in outcomes if run.task == name]) for name in names}
    return rows | {"all": row([result for _, result in outcomes])}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The summary as Markdown."""
    lines = ["| task | successes | rate | 95 % interval | median time |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        low, high = row["wilson_95"]
        rate = "-" if row["rate"] is None else f"{row['rate']:.0%}"
        time = "-" if row["median_success_s"] is None else f"{row['median_success_s']:.1f} s"
        lines.append(f"| {name} | {row['successes']} of {row['runs']} | {rate} | {low:.0%} .. {high:.0%} | {time} |")
    return "\n".join(lines)


def attempt(graph: Graph, request: Request, planned: Sequence[Run], outcomes: list[tuple[Run, TaskResult]]) -> None:
    """Makes the planned runs, appending to `outcomes`."""
    for number, run in enumerate(planned):
        graph.tasks.append(TaskStatus(run.instruction))
        graph.reset(run.seed, run.task)
        result = graph.run_task(number, request.timeout_s)
        outcomes.append((run, result))
        word = "success" if result.success else "failed "
        print(
            f"{number + 1:3d}/{len(planned)} {word} {result.duration_s:5.1f} s  {run.task:<16} seed {run.seed}  "
            f"{run.instruction!r}: {result.reason}",
            flush=True,
        )


def parsed() -> argparse.Namespace:
    """The arguments: those of `defi up`, and how many runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, robot="franka")
    parser.add_argument("--runs", type=int, default=40, help="number of runs (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=TASK_NAMES, help="names of tasks")
    parser.set_defaults(seed=1000, sim=True, demo=False)
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f"--runs: got {args.runs}, expected 1 or more")
    return args


def main() -> int:
    """Returns 0 when every run was made, 1 when the graph broke down, 2 for bad input, 130 after Ctrl-C."""
    args = parsed()
    outcomes, code = [], 0
    try:
        request = checked(args)
        report = Report(request.robot.name, request.policy.name if request.policy else "none")
    except DefiError as error:
        print(error, file=sys.stderr)
        return 2
    with Interruption() as interruption, surroundings(sim=True) as run_folder:
        graph = Graph(request.processes, run_folder, PlainView(sys.stderr), report, interruption)
        try:
            graph.start()
            attempt(graph, request, plan(args.runs, args.seed, args.tasks), outcomes)
        except InterruptedByPersonError:
            code = 130
        except DefiError as error:
            print(error, file=sys.stderr)
            code = 1
        finally:
            graph.stop("the benchmark has ended")
    rows = summary(outcomes)
    print(table(rows))
    if args.json:
        write_json(to_json(args, rows, outcomes, report), args.json)
    return code


def to_json(args: argparse.Namespace, rows: Mapping, outcomes: Sequence, report: Report) -> dict[str, Any]:
    """What `--json` holds: the command's numbers, the summary, every run and the report of the graph."""
    return {
        "policy": report.policy,
        "seed": args.seed,
        "timeout_s": args.timeout_s,
        "summary": rows,
        "runs": [
            {"task": run.task, "seed": run.seed, "success": result.success, "duration_s": round(result.duration_s, 3)}
            | {"instruction": run.instruction, "reason": result.reason}
            for run, result in outcomes
        ],
        "graph": report.to_mapping(),
    }


if __name__ == "__main__":
    sys.exit(main())
