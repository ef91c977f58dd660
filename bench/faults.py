"""Faults, each put into a running arm: what the arm did, the reason given, the time to rest.

    python bench/faults.py --markdown docs/faults.md

Most are put into the graph of the simulated Franka, started once as `defi up franka --sim --separate` starts it, with a
relay between the simulator and the nodes and between policy and bridge (bench/graph_rig.py). Before each fault the arm is
made to move, by the policy or by a person; after it everything is put right again. What only a robot itself can do wrong
is done by an emulated one (bench/robot_rig.py), and faults of time that no graph can be given are played to the arm
bridge's core alone (bench/core_faults.py). Exits with 1 when a fault did not end as it must.

The whole takes a quarter of an hour and wants a machine of its own. In pieces: `--json results.json --only camera`, and
so on; a piece replaces its rows in that file, and the page is made of all of them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import core_faults
import graph_faults
import graph_rig
import robot_faults
import robot_rig
from fault import Fault, Result, out, page, table, tell

from defi_ros.up.report import write_json


def names() -> list[str]:
    """Every fault, in the order of the page."""
    graph = [fault.name for fault in (*graph_faults.CAMERAS, *graph_faults.OTHERS)]
    return [*graph, *(fault.name for _, fault in robot_faults.CASES), *core_faults.names()]


def play_graph(faults: Sequence[Fault], policy: str, nice: int | None) -> list[Result]:
    """Plays faults on a graph; a fault that ends it is followed by a fresh one."""
    results: list[Result] = []
    while len(results) < len(faults):
        results += graph_rig.play(faults[len(results) :], policy, nice)
    return results


def play(only: str, policy: str, seeing: str, nice: int | None) -> list[Result]:
    """Plays every fault whose name matches."""

    def chosen(faults: Sequence[Fault]) -> list[Fault]:
        return [fault for fault in faults if re.search(only, fault.name)]

    results = core_faults.play(only)
    for one in results:
        tell(one)
    results += robot_rig.play([case for case in robot_faults.CASES if re.search(only, case[1].name)])
    results += play_graph(chosen(graph_faults.OTHERS), policy, nice)
    return results + play_graph(chosen(graph_faults.CAMERAS), seeing, nice)


def main() -> int:
    """Returns 0 when every fault ended as it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="scripted", help="moves the arm (default: %(default)s)")
    parser.add_argument("--seeing", default="nano", help="moves it where a camera fails (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only faults whose name matches")
    parser.add_argument(
        "--nice",
        type=int,
        metavar="N",
        help="niceness of inference where others use the machine (default: robot file's)",
    )
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--json", type=Path, help="results; those of an earlier piece are kept")
    parser.add_argument("--markdown", type=Path, help="the page")
    arguments = parser.parse_args()
    if arguments.list:
        out("\n".join(names()))
        return 0
    if not any(re.search(arguments.only, name) for name in names()):
        parser.error(f"--only: got {arguments.only!r}, which matches no fault; --list names all {len(names())}")
    played = play(arguments.only, arguments.policy, arguments.seeing, arguments.nice)
    before = json.loads(arguments.json.read_text())["faults"] if arguments.json and arguments.json.exists() else []
    known = {one.fault: one for one in (*(Result(**row) for row in before), *played)}
    results = [known[name] for name in names() if name in known]
    out(table(played))
    if arguments.json:
        write_json({"faults": [asdict(one) for one in results]}, arguments.json)
    if arguments.markdown:
        arguments.markdown.write_text(page(results, arguments.nice), encoding="utf-8")
    return 0 if all(one.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
