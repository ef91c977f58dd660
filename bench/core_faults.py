"""Faults of time and of targets, played to the arm bridge's core alone: no running graph can be given another clock."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from fault import Fault, Result, judge

from defi_models.contract import NS_PER_S
from defi_ros.control.arm import ArmCore
from defi_ros.control.command import ArmCommand
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.monitor import LimitMonitor
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
        self.run(0.2, held=False)  # an arm is commanded once it was seen at rest
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


NOT_FINITE = Fault("targets that are not finite", "policy", lambda _: None, "not finite")


def names() -> list[str]:
    """Every fault that is played here."""
    return [name for name, _, _ in CASES] + [NOT_FINITE.name]


def play(only: str) -> list[Result]:
    """What the core makes of each fault whose name matches."""
    results = [_clock(*case) for case in CASES if re.search(only, case[0])]
    return results + ([_targets()] if re.search(only, NOT_FINITE.name) else [])


def _clock(name: str, inject: Callable[[Played], None], wanted: str) -> Result:
    arm = Played()
    inject(arm)
    rest_s, command = None, arm.tick(held=False)
    for tick in range(400):
        command = arm.run(0.0, held=False)
        if command.at_rest:
            rest_s = tick * arm.period_ns / NS_PER_S
            break
    fault = Fault(name, "person", lambda _: None, wanted)
    return judge(fault, "core", rest_s, command.reason, "", arm.core.limit_violations)


def _targets() -> Result:
    robot = load_robot("franka")
    kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME, robot.spec.limits)
    safety, monitor = (
        SafetyFilter(robot.spec, kinematics, robot.control.rate_hz),
        LimitMonitor(robot.spec, robot.control.rate_hz),
    )
    goal = np.array(robot.spec.home)
    monitor.check(goal.copy(), kinematics.tip(goal))
    goal[0] += 1.0
    rest_s, reason = None, ""
    for tick in range(460):
        command = safety.step(goal if tick < 60 else np.full(7, np.nan))
        monitor.check(command.positions, kinematics.tip(command.positions))
        if tick >= 60 and not command.velocities.any():
            rest_s, reason = (tick - 60) / robot.control.rate_hz, command.reason
            break
    return judge(NOT_FINITE, "core", rest_s, reason, "", monitor.violations)
