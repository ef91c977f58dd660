"""The arm bridge at 250 Hz beside both models: how far its ticks are from their time, and what it costs.

    python bench/arm_bridge.py --seconds 60 --json arm_bridge.json

The graph of the simulated Franka with the policy in one process, doing one task after another. Two cores suffice and are
what the figures in the README are from. Exits with 1 when fewer than 99 % of the ticks came within 1 ms.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from site_file import site_file

from defi_models.contract import DefiError
from defi_ros.bringup import BringupOptions, processes
from defi_ros.robot import load_robot
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import Report, check_writable, write_json
from defi_ros.up.status import TaskStatus
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView
from defi_sim.tasks import TASKS

TASK_NAMES = ("open_drawer", "move_door_left", "turn_on_lamp", "turn_on_led")
TASK_TIMEOUT_S = 15.0
ALLOWED_MS = 1.0
NODES = ("arm_bridge_node", "inference_node", "sim_node")


def cpu_s(names: tuple[str, ...] = NODES) -> dict[str, float]:
    """CPU time of the nodes so far [s]."""
    used = {}
    for child in psutil.Process().children(recursive=True):
        words = " ".join(child.cmdline())
        for name in names:
            if f".{name}" in words:
                times = child.cpu_times()
                used[name] = times.user + times.system
    return used


def measure(site: Path, rate_hz: float, policy: str, seconds: float) -> dict[str, Any]:
    """Runs tasks for so many seconds and returns the figures."""
    options = BringupOptions(str(site), sim=True, policy=policy, composed=True, seed=1)
    report = Report("franka", policy)
    with Interruption() as interruption, surroundings(sim=True) as folder:
        graph = Graph([*processes(load_robot(site), options)], folder, PlainView(sys.stderr), report, interruption)
        try:
            graph.start()
            began_s, used = time.monotonic(), cpu_s()
            for number in itertools.count():
                task = TASKS[TASK_NAMES[number % len(TASK_NAMES)]]
                graph.tasks.append(TaskStatus(task.instructions[0]))
                graph.reset(1000 + number, task.name)
                graph.run_task(number, TASK_TIMEOUT_S)
                if time.monotonic() - began_s > seconds:
                    break
            wall_s = time.monotonic() - began_s
            shares = {name: 100 * (after - used[name]) / wall_s for name, after in cpu_s().items()}
        finally:
            graph.stop("the benchmark has ended")
    found = report.to_mapping()
    return {
        "rate_wanted_hz": rate_hz,
        "rate_hz": found["command_rate_hz"],
        "from_their_time_ms": found["command_jitter_ms"],
        "core_percent": {name: round(share, 1) for name, share in shares.items()},
        "gfdm_ms": found["gfdm_ms"],
        "gidm_ms": found["gidm_ms"],
        "chunks_hz": found["chunk_rate_hz"],
        "limits_violated": found["limit_violations"],
        "seconds": round(wall_s, 1),
        "cores": os.cpu_count(),
    }


def main() -> int:
    """Prints the figures; exit code 1 when ticks come late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="nano")
    parser.add_argument("--rate-hz", type=float, default=250.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.json:
            check_writable(arguments.json)
        with tempfile.TemporaryDirectory(prefix="defi-bridge-") as folder:
            site = site_file(Path(folder) / "site.yaml", {"control": {"rate_hz": arguments.rate_hz}})
            figures = measure(site, arguments.rate_hz, arguments.policy, arguments.seconds)
    except DefiError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:<20}{value}")
    if arguments.json:
        write_json(figures, arguments.json)
    late_ms = figures["from_their_time_ms"]["p99"]
    return 0 if late_ms is not None and late_ms <= ALLOWED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
