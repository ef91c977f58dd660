"""Scripted experts: one timed plan for one task, made from the true state of the scene."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from defi_models.contract import FloatArray, TaskError
from defi_sim.block_tasks import held_block
from defi_sim.experts.blocks import BLOCK_EXPERTS, NEEDS_HELD_BLOCK, put_away
from defi_sim.experts.fixtures import FIXTURE_EXPERTS
from defi_sim.state import SceneState
from defi_sim.task import Task
from defi_sim.tasks import task_named
from defi_sim.trajectory import Route, Trajectory

__all__ = ["EXPERTS", "plan"]

EXPERTS = MappingProxyType({**FIXTURE_EXPERTS, **BLOCK_EXPERTS})


def plan(
    task: Task | str, scene: SceneState, ee_pose: FloatArray, gripper: float, rng: np.random.Generator
) -> Trajectory:
    """A plan that does `task` from the present state.

    Args:
        task: The task or its name.
        scene: The scene now.
        ee_pose: The tool centre point now, shape (7,).
        gripper: The gripper's opening now, 0..1.
        rng: Draws what does not matter: heights, speeds, where a handle is met.

    Raises:
        TaskError: the task does not exist or cannot be done from here.
    """
    asked = task_named(task) if isinstance(task, str) else task
    if not asked.feasible(scene):
        raise TaskError(f"task {asked.name!r}: got a scene in which it cannot be done, expected one in which it can")
    route = Route(ee_pose, gripper)
    if held_block(scene) is not None and asked.name not in NEEDS_HELD_BLOCK:
        put_away(route, scene, rng)
    EXPERTS[asked.name](route, scene, rng)
    return route.trajectory()
