"""Faults of time and of targets, played to the arm bridge's core alone: no running graph can be given another clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from defi_models.contract import NS_PER_S
from defi_ros.control.arm import ArmCommand, ArmCore
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.safety import SafetyFilter
from defi_ros.control.teleop import TeleopInput
from defi_ros.robot import load_robot
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description

START_NS = 1_750_000_000 * NS_PER_S


class Played:
    """A person moves an ideal arm at 0.15 m/s."""

    def __init__(self) -> None:
        robot = load_robot("franka")
        self.kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME, robot.spec.limits)
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, self.kinematics)
        self.period_ns, self.now_ns = round(NS_PER_S / robot.control.rate_hz), START_NS
        self.measured = np.array(robot.spec.home)
        self.run(0.5)

    def run(self, seconds: float, *, held: bool = True) -> ArmCommand:
        """Lets time go by."""
        for _ in range(max(round(seconds * NS_PER_S / self.period_ns), 1)):
            self.now_ns += self.period_ns
            command = self.tick(held=held)
        return command

    def tick(self, *, held: bool = True) -> ArmCommand:
        """One tick at the time that is."""
        self.core.on_state(self.now_ns, self.measured, self.now_ns, 1.0)
        if held:
            self.core.on_teleop(TeleopInput("joystick", True, np.array([0.0, 0.15, 0, 0, 0, 0]), 1.0), self.now_ns)
        command = self.core.tick(self.now_ns)
        if command.positions is not None:
            self.measured = command.positions
        return command


def clock_back(arm: Played) -> None:
    """The clock is set back by an hour."""
    arm.now_ns -= 3600 * NS_PER_S
    arm.tick(held=False)


def clock_ahead(arm: Played) -> None:
    """The clock is set ahead by an hour."""
    arm.now_ns += 3600 * NS_PER_S


CASES: tuple[tuple[str, Callable[[Played], None], str], ...] = (
    ("clock set back by 1 h", clock_back, "the clock was set back by"),
    ("clock set ahead by 1 h", clock_ahead, "no input from joystick"),
)


def core_results(only: str, result: Any) -> list[Any]:
    """What the core makes of each case whose name matches; `result` is the type of a row."""
    rows = []
    for name, inject, wanted in CASES:
        if not re.search(only, name):
            continue
        arm = Played()
        inject(arm)
        rest_s, command = None, arm.tick(held=False)
        for tick in range(400):
            command = arm.run(0.0, held=False)
            if command.at_rest:
                rest_s = tick * arm.period_ns / NS_PER_S
                break
        reason = command.reason
        good = rest_s is not None and re.search(wanted, reason) is not None and not arm.core.limit_violations
        rows.append(result(name, "core", "person", "came to rest", rest_s, reason, "", arm.core.limit_violations, good))
    return rows + ([_targets(result)] if re.search(only, "targets that are not finite") else [])


def _targets(result: Any) -> Any:
    robot = load_robot("franka")
    kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME, robot.spec.limits)
    safety = SafetyFilter(robot.spec, kinematics, robot.control.rate_hz)
    goal = np.array(robot.spec.home)
    goal[0] += 1.0
    for _ in range(60):
        safety.step(goal)
    rest_s, reason = None, ""
    for tick in range(400):
        command = safety.step(np.full(7, np.nan))
        reason = command.reason
        if not command.velocities.any():
            rest_s = tick / robot.control.rate_hz
            break
    good = rest_s is not None and "not finite" in reason
    return result("targets that are not finite", "core", "policy", "came to rest", rest_s, reason, "", 0, good)
