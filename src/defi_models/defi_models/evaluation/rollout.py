"""A policy doing one task in the simulator, without ROS: chunks come late by a given latency, as they do on a robot."""

from __future__ import annotations

from dataclasses import dataclass

from defi_models.contract import NS_PER_S, ActionChunk, Observation, Policy, Proprioception
from defi_ros.control.chunks import ChunkSchedule
from defi_sim.demonstrations import CONTROL_HZ, Follower
from defi_sim.tasks import TASKS
from defi_sim.world import World


@dataclass(frozen=True)
class Timing:
    """How a policy is served.

    Attributes:
        latency_s: From an observation to its chunk being there [s].
        replan_s: Between observations that chunks are inferred from [s].
        timeout_s: When an attempt has failed [s].
    """

    latency_s: float = 0.15
    replan_s: float = 0.2
    timeout_s: float = 15.0


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task.

    Attributes:
        task: Name of the task.
        seed: Of the scene.
        success: Whether the oracle found it done.
        duration_s: Simulated time it took, or the timeout [s].
    """

    task: str
    seed: int
    success: bool
    duration_s: float


def attempt(world: World, policy: Policy, task: str, seed: int, timing: Timing, instruction: str | None = None) -> Attempt:
    """Resets the world to a scene in which `task` can be done and lets the policy try.

    Args:
        world: The simulator.
        policy: Whom to judge.
        task: Name of the task.
        seed: Of the scene.
        timing: How it is served.
        instruction: What to say; the task's sentence number `seed`, in turn, if absent.
    """
    asked = TASKS[task]
    world.reset(seed, task=task)
    text = instruction or asked.instructions[seed % len(asked.instructions)]
    start = world.scene()
    follower = Follower(world)
    schedule = ChunkSchedule(policy.spec.arm, len(world.joint_positions()))
    pose, gripper = world.ee_pose(), world.gripper_opening()
    coming: list[tuple[int, ActionChunk]] = []
    ticks_per_plan = round(timing.replan_s * CONTROL_HZ)
    for tick in range(round(timing.timeout_s * CONTROL_HZ)):
        now_ns = round(tick * NS_PER_S / CONTROL_HZ)
        if tick % ticks_per_plan == 0:
            coming.append((now_ns + round(timing.latency_s * NS_PER_S), think(world, policy, text, now_ns)))
        while coming and coming[0][0] <= now_ns:
            schedule.accept(coming.pop(0)[1], now_ns)
        target = schedule.target_at(now_ns)
        if target is not None:
            pose, gripper = target.row, target.gripper
        follower.follow(pose, gripper)
        world.step(round(1 / CONTROL_HZ / world.TIMESTEP_S))
        if asked.success(start, world.scene()):
            return Attempt(task, seed, True, (tick + 1) / CONTROL_HZ)
    return Attempt(task, seed, False, timing.timeout_s)


def think(world: World, policy: Policy, instruction: str, now_ns: int) -> ActionChunk:
    """The chunk a policy infers from what the world shows now."""
    scene = world.scene().to_mapping() if policy.spec.needs_scene else None
    images = {} if policy.spec.needs_scene else {name: world.render(name) for name in policy.spec.cameras}
    imagination = policy.imagine(Observation(now_ns, images, instruction, scene))
    gripper = min(max(world.gripper_opening(), 0.0), 1.0)
    return policy.act(imagination, Proprioception(now_ns, world.joint_positions(), world.ee_pose(), gripper))
