"""A policy doing tasks in the simulator, without ROS, through the arm bridge's own core; chunks come late, as on a robot."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from defi_models.contract import (
    NS_PER_S,
    ActionChunk,
    ConfigError,
    Observation,
    Policy,
    PolicySpec,
    Promised,
    Proprioception,
)
from defi_models.inference.load import SCRIPTED, load_policy, resolve
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.promises import Promises
from defi_ros.robot import RobotFile, load_robot
from defi_ros.settings import with_values
from defi_sim.cameras import CAMERAS
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description
from defi_sim.tasks import TASKS
from defi_sim.world import World

ROBOT = "franka"
CONTROL_HZ = 100.0
BLENDING = ("newest", "ensemble", "rtc")


@dataclass(frozen=True)
class Timing:
    """How a policy is served.

    Attributes:
        latency_s: From an observation to its chunk being there [s].
        replan_s: Between observations that chunks are inferred from [s].
        timeout_s: When an attempt has failed [s].
        blending: How overlapping chunks become one, as `control.blending` of a robot file.
    """

    latency_s: float = 0.15
    replan_s: float = 0.2
    timeout_s: float = 15.0
    blending: str = "newest"


def add_timing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options that `timing_of` reads."""
    parser.add_argument("--latency-s", type=float, default=Timing().latency_s, help="from observation to chunk [s]")
    parser.add_argument("--replan-s", type=float, default=Timing().replan_s, help="between chunks [s]")
    parser.add_argument("--blending", default=Timing().blending, choices=BLENDING, help="of overlapping chunks")


def timing_of(args: argparse.Namespace, timeout_s: float = Timing().timeout_s) -> Timing:
    """The timing that a command line asks for.

    Raises:
        ConfigError: a time is negative or not finite, or there is none between chunks or for an attempt.
    """
    times = {"--latency-s": args.latency_s, "--replan-s": args.replan_s, "--timeout-s": timeout_s}
    for option, given in times.items():
        least = "0 or more" if option == "--latency-s" else "more than 0"
        if not math.isfinite(given) or given < 0 or (given == 0 and option != "--latency-s"):
            raise ConfigError(f"{option}: got {given}, expected a time of {least} [s]")
    return Timing(args.latency_s, args.replan_s, timeout_s, args.blending)


def check_serves(spec: PolicySpec) -> None:
    """Refuses a policy that the simulated arm cannot carry out.

    Raises:
        ConfigError: it is for another arm, looks through a camera that is not there, or its step is none of the arm's.
    """
    arm = load_robot(ROBOT).spec.arm
    if spec.arm not in ("any", arm):
        raise ConfigError(f"policy {spec.name!r}: got one for arm {spec.arm!r}, but the simulated arm is a {arm!r}")
    missing = sorted(set(spec.cameras) - set(CAMERAS))
    if missing:
        raise ConfigError(f"policy {spec.name!r}: looks through {missing}, but the simulated table has {list(CAMERAS)}")
    _periods(spec.step_ns, round(NS_PER_S / CONTROL_HZ))


def say_unlearnt(policy: str, tasks: Collection[str]) -> None:
    """Tells which of `tasks` no demonstration of a policy showed, where its checkpoint names some of the table's tasks.

    Demonstrations from elsewhere, as LeRobot's, are named by their sentences, which say nothing of it.
    """
    shown = None if policy == SCRIPTED else resolve(policy).provenance.get("tasks")
    known = [name for name in shown if name in TASKS] if isinstance(shown, list) else []
    unlearnt = [name for name in tasks if name not in known] if known else []
    if unlearnt:
        sys.stdout.write(
            f"policy {policy} was never shown {len(unlearnt)} of these {len(tasks)} tasks: {', '.join(unlearnt)}\n"
        )


def _periods(step_ns: int, period_ns: int) -> int:
    """How many control periods a step is."""
    if step_ns < period_ns or step_ns % period_ns:
        raise ConfigError(f"step: got {step_ns} ns, expected a multiple of the control period of {period_ns} ns")
    return step_ns // period_ns


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task.

    Attributes:
        task: Name of the task.
        seed: Of the scene.
        success: Whether the oracle found it done.
        duration_s: Simulated time it took, or the timeout [s].
        instruction: What the policy was told.
    """

    task: str
    seed: int
    success: bool
    duration_s: float
    instruction: str = ""


class SimulatedArm:
    """The arm bridge's own core driving a simulated arm: authority, chunk schedule and limits as on the robot.

    Args:
        world: The simulator, reset.
        robot: The robot file whose limits and rates hold.

    Attributes:
        executing_ns: Observation time of the chunk in execution [ns]; 0 for none.
    """

    def __init__(self, world: World, robot: RobotFile) -> None:
        kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)
        self._world = world
        self.executing_ns = 0
        self._core = ArmCore(robot.spec, robot.control, robot.gripper, kinematics)
        self.period_ns = round(NS_PER_S / robot.control.rate_hz)
        self._steps = round(self.period_ns / NS_PER_S / world.TIMESTEP_S)
        if abs(self._steps * world.TIMESTEP_S * NS_PER_S - self.period_ns) > 1:
            raise ConfigError(
                f"control.rate_hz: got {robot.control.rate_hz}, expected a period of whole physics steps of "
                f"{world.TIMESTEP_S} s, as in 250, 125 or 100 Hz"
            )
        self._core.on_state(0, world.joint_positions(), 0, world.gripper_opening())
        self._core.tick(0)
        self._core.request(Mode.POLICY, "evaluation", 0)

    @property
    def held(self) -> str:
        """Why the arm no longer follows the policy; empty while it does."""
        authority = self._core.authority
        return "" if authority.mode == Mode.POLICY else f"{authority.mode.name}: {authority.reason}"

    def tick(self, now_ns: int, chunks: Sequence[ActionChunk]) -> None:
        """Takes in what arrived, commands the arm and advances physics by one period."""
        self._core.on_state(now_ns, self._world.joint_positions(), now_ns, self._world.gripper_opening())
        for chunk in chunks:
            self._core.on_chunk(chunk, now_ns)
        command = self._core.tick(now_ns)
        self.executing_ns = 0 if self.held else command.chunk_stamp_ns
        if command.positions is not None:
            self._world.command_joints(command.positions)
        if command.gripper_goal is not None:
            self._world.command_gripper(command.gripper_goal)
        self._world.step(self._steps)


class Rollout:
    """A policy driving the simulated arm of one world, from its reset on; one task after the other.

    Args:
        world: The simulator, reset.
        policy: Whom to let drive.
        timing: How it is served.
    """

    def __init__(self, world: World, policy: Policy, timing: Timing) -> None:
        changed = {"control.rate_hz": CONTROL_HZ, "control.blending": timing.blending}
        robot = with_values(load_robot(ROBOT), changed, "evaluation")
        self._world, self._policy, self._timing = world, policy, timing
        self._promises = Promises(robot.control.lookahead_s) if timing.blending == "rtc" else None
        self._arm = SimulatedArm(world, robot)
        self._tick = 0
        self._coming: list[tuple[int, ActionChunk]] = []

    @property
    def held(self) -> str:
        """Why the arm no longer follows the policy; empty while it does."""
        return self._arm.held

    def run(self, instruction: str, done: Callable[[], bool], steps: int, step_ns: int) -> int | None:
        """Lets the policy follow an instruction until `done`, asked after every step.

        What was inferred for an earlier instruction and is still on its way is dropped; the arm follows the chunk it
        has until the first one for this instruction arrives.

        Args:
            instruction: What the policy is told.
            done: Whether that has been done.
            steps: How many steps it may take.
            step_ns: Length of a step, a multiple of the control period [ns].

        Returns:
            The steps it took, or None when they did not suffice.

        Raises:
            ConfigError: the step is no multiple of the control period.
        """
        period_ns = self._arm.period_ns
        periods = _periods(step_ns, period_ns)
        self._coming, next_plan_ns = [], 0
        for step in range(1, steps + 1):
            for _ in range(periods):
                self._tick += 1
                now_ns = self._tick * period_ns
                if now_ns >= next_plan_ns:
                    next_plan_ns = now_ns + round(self._timing.replan_s * NS_PER_S)
                    self._coming.append(self._infer(instruction, now_ns))
                self._arm.tick(now_ns, [chunk for due_ns, chunk in self._coming if due_ns <= now_ns])
                self._coming = [one for one in self._coming if one[0] > now_ns]
            if done():
                return step
        return None

    def _infer(self, instruction: str, now_ns: int) -> tuple[int, ActionChunk]:
        """When the chunk of an observation made now will be there [ns], and the chunk."""
        due_ns, promised = now_ns + round(self._timing.latency_s * NS_PER_S), None
        if self._promises is not None:
            self._promises.executing(self._arm.executing_ns)
            spec = self._policy.spec
            promised = self._promises.at(now_ns, spec.step_ns, spec.chunk_steps, spec.space)
        chunk = think(self._world, self._policy, instruction, now_ns, promised)
        if self._promises is not None:
            self._promises.note(chunk, due_ns)
        return due_ns, chunk


@lru_cache(maxsize=1)
def _kept(policy: str, backend: str) -> tuple[World, Policy]:
    return World(), load_policy(policy, backend=backend, threads=1)


def opened(policy: str, backend: str = "torch") -> tuple[World, Policy]:
    """A world and a policy for a process that judges, opened by its first job and kept for those that follow.

    What goes wrong in a pool's initializer is tried for ever. Experts draw as they plan, so each job gets its own: what
    comes of it must not depend on those before it in the same process.
    """
    world, loaded = _kept(policy, backend)
    return world, load_policy(SCRIPTED) if policy == SCRIPTED else loaded


def attempt(world: World, policy: Policy, task: str, seed: int, timing: Timing, *, split: str = "train") -> Attempt:
    """Resets the world to a scene in which `task` can be done and lets the policy try.

    Args:
        world: The simulator.
        policy: Whom to judge.
        task: Name of the task.
        seed: Of the scene.
        timing: How it is served.
        split: Whose scenes.
    """
    asked = TASKS[task]
    world.reset(seed, task=task, split=split)
    # Not by the seed itself: where tasks come in turn, each would be asked for in one wording alone.
    text = asked.instructions[int(np.random.default_rng([seed, 1]).integers(len(asked.instructions)))]
    start = world.scene()
    steps, step_ns = round(timing.timeout_s * CONTROL_HZ), round(NS_PER_S / CONTROL_HZ)
    took = Rollout(world, policy, timing).run(text, lambda: asked.success(start, world.scene()), steps, step_ns)
    return Attempt(task, seed, took is not None, timing.timeout_s if took is None else took / CONTROL_HZ, text)


def think(world: World, policy: Policy, instruction: str, now_ns: int, promised: Promised | None = None) -> ActionChunk:
    """The chunk a policy infers from what the world shows now, and from what the arm will carry out whatever comes."""
    scene = world.scene().to_mapping() if policy.spec.needs_scene else None
    images = {} if policy.spec.needs_scene else {name: world.render(name) for name in policy.spec.cameras}
    imagination = policy.imagine(Observation(now_ns, images, instruction, scene))
    gripper = min(max(world.gripper_opening(), 0.0), 1.0)
    return policy.act(imagination, Proprioception(now_ns, world.joint_positions(), world.ee_pose(), gripper), promised)
