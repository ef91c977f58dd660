"""The step in velocity across chunk seams against those within chunks, for each way of blending.

    python bench/seams.py --policy nano --episodes 8

The arm bridge's core drives the simulated arm; chunks come as late as on a robot. A seam is each tick from the first
command of a new chunk until it has faded in; "within" is each tick of the chunk itself, as if it alone had been followed
from its first command until the next chunk's. Shown is how much the velocity of the tool's target changes from one tick
to the next [m/s]: of the target, since the limits level what is commanded (its steps, in parts of what the limits allow,
stand beside, for seams and for the other ticks). Exits with 1 when a seam has the larger step.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from defi_models.contract import NS_PER_S, ActionChunk, Observation, Policy, Promised, Proprioception
from defi_models.inference.load import load_policy
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.curves import ChunkCurve
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.promises import Promises
from defi_ros.robot import load_robot
from defi_ros.settings import with_values
from defi_ros.up.report import check_writable, write_json
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description
from defi_sim.tasks import TASKS
from defi_sim.world import World

RATE_HZ, LATENCY_S, REPLAN_S, EPISODE_S = 100.0, 0.15, 0.2, 6.0
TASK_NAMES = ("open_drawer", "move_door_left", "turn_on_lamp", "turn_on_led")
BLENDINGS = ("newest", "ensemble", "rtc")
FADE_S = 0.12


def infer(world: World, policy: Policy, text: str, now_ns: int, promised: Promised | None) -> ActionChunk:
    """The chunk that a policy infers from what the world shows now."""
    scene = world.scene().to_mapping() if policy.spec.needs_scene else None
    images = {} if policy.spec.needs_scene else {name: world.render(name) for name in policy.spec.cameras}
    imagination = policy.imagine(Observation(now_ns, images, text, scene))
    opening = min(max(world.gripper_opening(), 0.0), 1.0)
    known = Proprioception(now_ns, world.joint_positions(), world.ee_pose(), opening)
    return policy.act(imagination, known, promised)


def episode(world: World, policy: Policy, blending: str, task: str, seed: int) -> dict[str, list[float]]:
    """Steps of one attempt at seams and within chunks: changes of the target's velocity [m/s], and of the command's, of 1."""
    world.reset(seed, task=task)
    text, start = TASKS[task].instructions[0], world.scene()
    values = {"control.rate_hz": RATE_HZ, "control.blending": blending, "control.blend_s": FADE_S}
    robot = with_values(load_robot("franka"), values, "bench")
    core = ArmCore(robot.spec, robot.control, robot.gripper, Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME))
    promises, coming, period_ns = Promises(), [], round(NS_PER_S / RATE_HZ)
    core.on_state(0, world.joint_positions(), 0, world.gripper_opening())
    core.tick(0)
    core.request(Mode.POLICY, "bench", 0)
    steps: dict[str, list[float]] = defaultdict(list)
    next_ns, seam_until_ns, chunks, before = period_ns, 0, 0, np.zeros(len(robot.spec.joint_names))
    places: list[np.ndarray] = []
    followed: list[tuple[int, ChunkCurve]] = []  # each chunk and when its first command was
    for tick in range(1, round(EPISODE_S * RATE_HZ)):
        now_ns = tick * period_ns
        if now_ns >= next_ns:
            next_ns += round(REPLAN_S * NS_PER_S)
            promised = None
            if blending == "rtc":
                promised = promises.at(now_ns, policy.spec.step_ns, policy.spec.chunk_steps, policy.spec.space)
            chunk = infer(world, policy, text, now_ns, promised)
            coming.append((now_ns + round(LATENCY_S * NS_PER_S), chunk))
        core.on_state(now_ns, world.joint_positions(), now_ns, world.gripper_opening())
        for due_ns, chunk in coming:
            if due_ns <= now_ns:
                promises.note(chunk, now_ns)
                core.on_chunk(chunk, now_ns)
        coming = [one for one in coming if one[0] > now_ns]
        command = core.tick(now_ns)
        promises.executing(command.chunk_stamp_ns)
        if command.chunk_started:
            chunks, seam_until_ns = chunks + 1, now_ns + round(FADE_S * NS_PER_S)
            assert core._policy.schedule.chunk is not None
            followed.append((now_ns, ChunkCurve(core._policy.schedule.chunk)))
        due = core._policy.schedule.target_at(now_ns)  # what the core would be asked for without limits
        places = [*places[-2:], due.row[:3]] if due is not None else []
        where = "seam" if now_ns <= seam_until_ns else "within"
        if chunks > 1 and len(places) == 3:  # the first begins from rest
            if where == "seam":
                steps[where].append(float(np.linalg.norm(np.diff(places, 2, axis=0))) * RATE_HZ)
            most = robot.spec.limits.acceleration / RATE_HZ
            steps[f"commanded {where}"].append(float((np.abs(command.velocities - before) / most).max()))
        before = command.velocities
        if command.positions is not None:
            world.command_joints(command.positions)
        if command.gripper_goal is not None:
            world.command_gripper(command.gripper_goal)
        world.step(round(period_ns / NS_PER_S / world.TIMESTEP_S))
        if TASKS[task].success(start, world.scene()):
            break
    for (begin_ns, curve), (end_ns, _) in itertools.pairwise(followed[1:]):
        alone = np.array([curve.at(time_ns)[:3] for time_ns in range(begin_ns, end_ns + 1, period_ns)])
        steps["within"] += (np.linalg.norm(np.diff(alone, 2, axis=0), axis=1) * RATE_HZ).tolist()
    return steps


def spread(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest."""
    median, late = np.percentile(values, (50, 99))
    return {"p50": float(median), "p99": float(late), "max": max(values)}


def main() -> int:
    """Prints a line for each way of blending; exit code 1 when a seam shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="nano")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    figures, good = {}, True
    policy = load_policy(arguments.policy, threads=1)
    print(
        f"{'blending':<12}{'seam max':>10}{'within max':>12}{'seam p99':>10}{'within p99':>12}   [m/s]   "
        "commanded, of 1: seam p50, within p50"
    )
    with World() as world:
        for blending in BLENDINGS:
            steps: dict[str, list[float]] = defaultdict(list)
            for number in range(arguments.episodes):
                found = episode(world, policy, blending, TASK_NAMES[number % len(TASK_NAMES)], 1000 + number)
                for name, values in found.items():
                    steps[name] += values
            row = {name: spread(values) for name, values in steps.items()}
            figures[blending] = row
            seam, within = row["seam"], row["within"]
            good = good and seam["max"] <= within["max"]
            print(
                f"{blending:<12}{seam['max']:>10.4f}{within['max']:>12.4f}{seam['p99']:>10.4f}{within['p99']:>12.4f}"
                f"{row['commanded seam']['p50']:>22.2f}{row['commanded within']['p50']:>12.2f}",
                flush=True,
            )
    if arguments.json:
        write_json({"policy": arguments.policy, "episodes": arguments.episodes, "blending": figures}, arguments.json)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
