"""What a person asked `defi up` for, refused before any process starts where that is possible."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from defi_models.contract import ConfigError, PolicySpec, TaskError
from defi_ros.bringup import BringupOptions, Process, processes
from defi_ros.robot import RobotFile, load_robot
from defi_ros.sections import NO_POLICY
from defi_ros.up.report import check_writable

TIMEOUT_S = 30.0
DEMO_TASKS = ("open the drawer", "move the door to the left", "turn on the lamp", "turn on the led")


@dataclass(frozen=True, slots=True)
class Request:
    """One run of `defi up`, checked.

    Attributes:
        robot: The robot file.
        policy: What its policy needs and gives; None where people alone move the arm.
        options: How the graph is started.
        processes: The graph.
        instructions: Tasks to run one after the other; none: run until stopped.
        sim_tasks: Name of the simulator's task for each instruction; empty on a real robot.
        timeout_s: For one task [s].
        headless: No live lines.
        json_path: Where the report goes, or None.
    """

    robot: RobotFile
    policy: PolicySpec | None
    options: BringupOptions
    processes: tuple[Process, ...]
    instructions: tuple[str, ...] = ()
    sim_tasks: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_S
    headless: bool = False
    json_path: Path | None = None


def add_arguments(parser: argparse.ArgumentParser, robot: str | None = None) -> None:
    """Declares what `defi up` takes; where a `robot` is given, that argument may be left out."""
    add = parser.add_argument
    told = "name of a robot file in config/robots, as in franka, or the path of one"
    add("robot", nargs="?" if robot else None, default=robot, help=told + (" (default: %(default)s)" if robot else ""))
    add("--sim", action="store_true", help="a simulated robot and cameras in place of the real ones")
    add(
        "--task", action="append", default=[], metavar="TEXT", help="an instruction in English; may be given repeatedly"
    )
    add("--timeout-s", type=float, default=TIMEOUT_S, metavar="S", help="time for one task (default: %(default)g)")
    add("--policy", metavar="NAME", help="a checkpoint folder, nano, or scripted (default: the robot file's)")
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument(
        "--composed", dest="composed", action="store_true", default=None, help="both models in one process"
    )
    layout.add_argument("--separate", dest="composed", action="store_false", help="each model in a process of its own")
    add("--seed", type=int, default=0, metavar="N", help="seed of the simulated scenes (default: %(default)s)")
    add("--headless", action="store_true", help="plain lines, also on a terminal")
    add("--json", type=Path, metavar="FILE", help="write the report there, also after Ctrl-C and failures")
    add("--demo", action="store_true", help="--sim, with a few tasks when none is given; what `make demo` runs")


def checked(args: argparse.Namespace) -> Request:
    """The request behind parsed arguments.

    Raises:
        DefiError: of its kind, for a robot, policy, instruction, number or file that cannot be used.
    """
    if args.json is not None:
        check_writable(args.json)
    if not (math.isfinite(args.timeout_s) and args.timeout_s > 0):
        raise ConfigError(f"--timeout-s: got {args.timeout_s:g}, expected a positive number of seconds")
    sim = args.sim or args.demo
    options = BringupOptions(robot=args.robot, sim=sim, policy=args.policy, composed=args.composed, seed=args.seed)
    robot = load_robot(options.robot)
    if sim:
        from defi_sim.description import check_simulated

        check_simulated(robot.name, robot.joints.names)
    policy = _checked_policy(robot, options)
    instructions = tuple(args.task) or (DEMO_TASKS if args.demo else ())
    if instructions and policy is None:
        raise ConfigError(
            f"--task: got {instructions[0]!r} for robot {robot.name!r}, whose policy.path is {NO_POLICY!r}; expected a "
            "policy to do it. Give one with --policy, or in the robot file."
        )
    return Request(
        robot=robot,
        policy=policy,
        options=options,
        processes=tuple(processes(robot, options)),
        instructions=instructions,
        sim_tasks=_checked_tasks(instructions, sim=sim),
        timeout_s=args.timeout_s,
        headless=args.headless,
        json_path=args.json,
    )


def _checked_policy(robot: RobotFile, options: BringupOptions) -> PolicySpec | None:
    path = options.policy or robot.policy.path
    if path == NO_POLICY:
        return None
    from defi_models.inference.load import read_spec
    from defi_ros.control.preflight import check_policy_fits_robot

    spec = read_spec(path)
    check_policy_fits_robot(
        spec,
        robot.spec,
        rate_hz=robot.control.rate_hz,
        replan_s=robot.policy.replan_s,
        chunk_timeout_s=robot.control.chunk_timeout_s,
        simulated=options.sim,
    )
    return spec


def _checked_tasks(instructions: tuple[str, ...], *, sim: bool) -> tuple[str, ...]:
    """Names of the simulator's tasks; none on a real robot, where nobody knows which instructions make sense."""
    for number, text in enumerate(instructions, start=1):
        if not text.strip():
            raise TaskError(
                f"--task number {number}: got an empty instruction, expected what the robot should do, "
                f"as in --task {DEMO_TASKS[0]!r}"
            )
    if not sim:
        return ()
    from defi_sim.tasks import task_for

    return tuple(task_for(text).name for text in instructions)
