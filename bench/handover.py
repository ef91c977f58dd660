"""A person takes the arm from the policy at the worst moment: at top speed, in seeded trials on the simulated arm.

    python bench/handover.py --trials 1000 --json handover.json
    python bench/handover.py --live 30          besides: the running graph, from the button on `joy` to the arm's command

Each trial lets the policy drive the tip as fast as the limits allow, presses the deadman at a random tick with a random
deflection, and follows the arm until it is at rest after the release. Counted are commands outside a limit, by a monitor
that shares no code with the safety filter; measured are the largest jerk against its limit and the time from the button
to the first command of the person. A trial begins where the last one ended, or anew where that is so low that the hand could
meet the furniture: an arm that pushes against something cannot follow, and HOLD then takes the command over to where the arm
is (`control.reanchor_rad`), a step that is no motion; such trials are counted as re-anchored. Exits with 1 when a limit was
violated, the jerk exceeded its limit, or teleop took longer than 20 ms.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defi_models.contract import NS_PER_S, ActionChunk, FloatArray
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.teleop import TeleopInput
from defi_ros.robot import RobotFile, load_robot
from defi_ros.settings import with_values
from defi_ros.up.report import check_writable, write_json
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description
from defi_sim.world import World

RATE_HZ = 250.0
START_NS = 1_750_000_000 * NS_PER_S
DRIVE_S, HELD_S, REST_S = 0.8, 0.3, 0.5
ALLOWED_MS = 20.0
ABOVE_FIXTURES_M = 0.4


@dataclass(frozen=True)
class Trial:
    """What one handover did."""

    violations: int
    tip_speed_m_s: float
    jerk_part: float
    acceleration_part: float
    in_charge_ms: float
    turned_back_mm: float
    rests: bool
    reanchored: bool


class Bench:
    """The arm bridge's core driving the simulated arm."""

    def __init__(self, world: World, robot: RobotFile) -> None:
        self.world, self.robot, self.spec = world, robot, robot.spec
        self.kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME, robot.spec.limits)
        self.period_ns = round(NS_PER_S / RATE_HZ)
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, self.kinematics)
        self.now_ns = START_NS
        self.rows: list[FloatArray] = []
        self.reanchored = False

    def tick(self) -> Any:
        """One period of the bridge and of physics."""
        self.now_ns += self.period_ns
        self.core.on_state(self.now_ns, self.world.joint_positions(), self.now_ns, self.world.gripper_opening())
        command = self.core.tick(self.now_ns)
        self.reanchored = self.reanchored or "by other means" in command.verdict_reason
        if command.positions is not None:
            self.rows.append(command.positions)
            self.world.command_joints(command.positions)
        self.world.step(round(self.period_ns / NS_PER_S / self.world.TIMESTEP_S))
        return command

    def fast_chunk(self, rng: np.random.Generator) -> ActionChunk:
        """A chunk of poses that lead through the workspace faster than the tip may go."""
        box, start = self.spec.workspace, self.kinematics.forward(self.rows[-1])
        inner = 0.15 * (box.upper - box.lower)
        lower = np.array(
            [*(box.lower + inner)[:2], ABOVE_FIXTURES_M]
        )  # an arm that is stopped by the table is no trial
        goal = rng.uniform(lower, box.upper - inner)
        step = goal - start[:3]
        steps = 10
        way = np.minimum(np.arange(steps)[:, None] * 0.08 / max(float(np.linalg.norm(step)), 1e-6), 1.0)
        poses = np.tile(start, (steps, 1))
        poses[:, :3] += way * step
        return ActionChunk(self.now_ns, NS_PER_S // 10, "ee_pose", poses, np.ones(steps), self.spec.arm, "bench")

    def trial(self, rng: np.random.Generator) -> Trial:
        """Drives at top speed, hands over, holds and releases."""
        core = self.core
        while self.tick().positions is None:
            pass
        core.request(Mode.POLICY, "bench", self.now_ns)
        self.tick()
        before, ticks = core.monitor.violations, round(rng.uniform(0.4, 1.0) * DRIVE_S * RATE_HZ)
        core.on_chunk(self.fast_chunk(rng), self.now_ns)
        first, self.reanchored = len(self.rows), False
        for tick in range(ticks):
            self.tick()
            if tick % 50 == 49:
                core.on_chunk(self.fast_chunk(rng), self.now_ns)
        speed = self._tip_speed()
        handed = len(self.rows)
        twist = (
            np.concatenate([rng.uniform(-0.3, 0.3, 3), rng.uniform(-1, 1, 3)]) if rng.random() < 0.7 else np.zeros(6)
        )
        pressed_ns = self.now_ns + int(rng.integers(self.period_ns))  # some time between two ticks
        in_charge_ms = float("inf")
        for _ in range(round(HELD_S * RATE_HZ)):
            core.on_teleop(TeleopInput("joystick", True, twist, 1.0), self.now_ns)
            if self.tick().mode == Mode.TELEOP and not np.isfinite(in_charge_ms):
                in_charge_ms = (self.now_ns - pressed_ns) / 1e6
        back_m = 0.0 if twist.any() else self._turned_back_m(handed)
        core.on_teleop(TeleopInput("joystick", False, np.zeros(6), 1.0), self.now_ns)
        for _ in range(round(REST_S * RATE_HZ)):
            command = self.tick()
        jerk, acceleration = self._parts(first)
        return Trial(
            core.monitor.violations - before,
            speed,
            jerk,
            acceleration,
            in_charge_ms,
            1e3 * back_m,
            command.at_rest,
            self.reanchored,
        )

    @property
    def is_low(self) -> bool:
        """Whether the tip is so low that the hand may meet the furniture on its next way."""
        return float(self.kinematics.tip(self.rows[-1])[2]) < ABOVE_FIXTURES_M

    def _tip_speed(self) -> float:
        now, last = self.kinematics.tip(self.rows[-1]), self.kinematics.tip(self.rows[-2])
        return float(np.linalg.norm(now - last)) * RATE_HZ

    def _turned_back_m(self, handed: int) -> float:
        """How far the tip goes back on its way after row `handed`."""
        tips = np.array([self.kinematics.tip(row) for row in self.rows[handed - 2 :]])
        way = tips[1] - tips[0]
        gone = (tips[1:] - tips[1]) @ (way / np.linalg.norm(way))
        return float((np.maximum.accumulate(gone) - gone).max())

    def _parts(self, first: int) -> tuple[float, float]:
        """Largest jerk and acceleration from `first` on, as parts of their limits."""
        rows, limits = np.array(self.rows[max(first - 3, 0) :]), self.spec.limits
        acceleration = np.diff(rows, 2, axis=0) * RATE_HZ**2
        jerk = np.diff(acceleration, axis=0) * RATE_HZ
        return float((np.abs(jerk) / limits.jerk).max()), float((np.abs(acceleration) / limits.acceleration).max())


def simulate(trials: int, seed: int) -> list[Trial]:
    """The seeded trials, ten from each start."""
    robot = with_values(load_robot("franka"), {"control.rate_hz": RATE_HZ}, "bench")
    results, bench = [], None
    with World() as world:
        for number in range(trials):
            if bench is None or number % 10 == 0 or bench.is_low:
                world.reset(seed + number)
                bench = Bench(world, robot)
            results.append(bench.trial(np.random.default_rng([seed, number])))
    return results


def summary(results: list[Trial]) -> dict[str, Any]:
    """The figures of all trials."""
    charge = np.array([result.in_charge_ms for result in results])
    return {
        "trials": len(results),
        "limits_violated": sum(result.violations for result in results),
        "reanchored": sum(result.reanchored for result in results),
        "not_at_rest": sum(not result.rests for result in results),
        "tip_speed_at_handover_m_s": {
            "median": float(np.median([result.tip_speed_m_s for result in results])),
            "max": max(result.tip_speed_m_s for result in results),
        },
        "peak_jerk_part_of_limit": max(result.jerk_part for result in results),
        "peak_acceleration_part_of_limit": max(result.acceleration_part for result in results),
        "tip_turned_back_mm": max(result.turned_back_mm for result in results),
        "button_to_command_ms": {
            "p50": float(np.median(charge)),
            "p99": float(np.percentile(charge, 99)),
            "max": float(charge.max()),
        },
    }


def main() -> int:
    """Prints the figures; exit code 1 when a limit was violated or teleop came late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--live", type=int, default=0, metavar="N", help="handovers on the running graph")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    results = simulate(arguments.trials, arguments.seed) if arguments.trials else []
    figures: dict[str, Any] = {"simulation": summary(results)} if results else {}
    if arguments.live:
        from live_handover import measure  # the graph's modules, needed here only

        figures["live"] = measure(arguments.live, arguments.seed)
    show(figures)
    if arguments.json:
        write_json(figures | {"seed": arguments.seed, "runs": [asdict(result) for result in results]}, arguments.json)
    return 0 if all(map(is_good, figures.values())) else 1


def is_good(part: dict[str, Any]) -> bool:
    """Whether the figures are what they must be."""
    quick = part["button_to_command_ms"]["max"] <= ALLOWED_MS
    return quick and part["limits_violated"] == 0 and part.get("peak_jerk_part_of_limit", 0.0) <= 1.0


def show(figures: dict[str, Any]) -> None:
    """One line a figure."""
    for name, part in figures.items():
        for key, value in part.items():
            text = ", ".join(f"{k} {v:.2f}" for k, v in value.items()) if isinstance(value, dict) else f"{value:.3g}"
            print(f"{name:<12}{key:<36}{text}")


if __name__ == "__main__":
    sys.exit(main())
