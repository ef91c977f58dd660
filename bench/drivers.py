"""Every kind of controller through the whole simulated graph: one task of the scripted policy each.

    python bench/drivers.py --json drivers.json
    python bench/drivers.py --kinds servo_pose forward_velocity --task "turn on the lamp"

The robot file of the simulated Franka is written anew with another `driver`, as a site would, and started with
`defi up FILE --sim`. Exits with 1 when a task failed or a limit was violated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from site_file import site_file

from defi_ros.sections import ARM_DRIVERS
from defi_ros.up.report import check_writable, write_json

# What a site would set beside the kind: a controller that follows later is looked up earlier.
BATCHES = "joint_trajectory in batches"
ALONG: dict[str, dict[str, dict[str, Any]]] = {
    BATCHES: {"driver": {"kind": "joint_trajectory", "sending": "batches"}, "control": {"lookahead_s": 0.1}}
}
LONGEST_S = 120.0


def run(kind: str, task: str, seed: int, folder: Path) -> dict[str, Any]:
    """One task through the graph: what the report says of it."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    site = site_file(folder / "site.yaml", {"driver": {"kind": kind}, **ALONG.get(kind, {})})
    command = [sys.executable, "-m", "defi_models.cli", "up", str(site), "--sim", "--headless"]
    command += ["--policy", "scripted", "--task", task, "--seed", str(seed), "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    if not report.is_file():
        return {"success": False, "reason": (done.stderr or done.stdout)[-300:], "duration_s": None, "violations": None}
    found = json.loads(report.read_text(encoding="utf-8"))
    (result,) = found["tasks"] or [
        {"success": False, "reason": found.get("reason", "no task was begun"), "duration_s": None}
    ]
    return {
        "success": bool(result["success"]) and done.returncode == 0,
        "reason": result["reason"],
        "duration_s": result["duration_s"],
        "violations": found["limit_violations"],
    }


def main() -> int:
    """Prints a line for each kind; exit code 1 when one of them did not do its task within the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [*ARM_DRIVERS, BATCHES]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--task", default="open the drawer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    results = {}
    print("| driver.kind | task | time | limits violated |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="defi-drivers-") as folder:
        for kind in arguments.kinds:
            results[kind] = found = run(kind, arguments.task, arguments.seed, Path(folder))
            word = "done" if found["success"] else f"failed: {found['reason']}"
            time = "-" if found["duration_s"] is None else f"{found['duration_s']:.1f} s"
            print(f"| {kind} | {word} | {time} | {found['violations']} |", flush=True)
    if arguments.json:
        write_json({"task": arguments.task, "seed": arguments.seed, "kinds": results}, arguments.json)
    return 0 if all(found["success"] and found["violations"] == 0 for found in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
