"""Play: tasks one after the other without a reset, each from where the last one left the arm and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from defi_models.contract import TaskError
from defi_sim.block_tasks import held_block
from defi_sim.demonstrations import Demonstration, demonstrate
from defi_sim.experts.blocks import NEEDS_HELD_BLOCK
from defi_sim.state import SceneState
from defi_sim.task import Task
from defi_sim.tasks import TASKS
from defi_sim.world import World

# Share of segments that end as soon as the oracle is content, as a chain of the benchmark does; the others are
# carried out to the end, so that a learner also sees how the arm withdraws.
CUT_SHARE = 0.5
CUT_DELAY_S = (0.0, 0.3)
# How often a feasible task is drawn, against its rareness: each fixture allows one of two tasks at a time, a place
# needs a block in the gripper, and one of them an open drawer; a tower is there only after a stack; few scenes have a
# free lane to push along.
_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"drawer": 2.0, "door": 2.0, "lamp": 2.0, "led": 2.0, "lift": 1.5, "push": 8.0, "rotate": 1.0, "place": 1.0}
    | {"stack_blocks": 1.0, "unstack_blocks": 12.0, "place_in_drawer": 4.0}
)
# First tasks of plays, in turn: pushes four times, for the same reason.
FIRST_TASKS = tuple(task.name for task in TASKS.values() for _ in range(4 if task.group == "push" else 1))
_OPPOSITES = (("open", "close"), ("left", "right"), ("on", "off"))


@dataclass(frozen=True, slots=True)
class Segment:
    """One task of a play.

    Attributes:
        index: Its place in the play, from 0.
        first: Whether the scene was reset before it.
        task: Name of the task.
        demonstration: What the expert did.
    """

    index: int
    first: bool
    task: str
    demonstration: Demonstration


def opposite(name: str) -> str | None:
    """The task that undoes `name` and nothing else, as in "close_drawer" of "open_drawer"; None where there is none."""
    if name in ("stack_blocks", "unstack_blocks"):
        return "unstack_blocks" if name == "stack_blocks" else "stack_blocks"
    words = name.split("_")
    for one, other in _OPPOSITES:
        swap = {one: other, other: one}
        if any(word in swap for word in words):
            swapped = "_".join(swap.get(word, word) for word in words)
            return swapped if swapped in TASKS else None
    return None


def possible_tasks(scene: SceneState, last: str | None) -> list[Task]:
    """The tasks that can be done now, without the one that only undoes the last.

    With a block in the gripper these are the tasks that put it somewhere.
    """
    undone = None if last is None else opposite(last)
    holding = held_block(scene) is not None
    return [
        task
        for task in TASKS.values()
        if task.name != undone and task.feasible(scene) and (not holding or task.name in NEEDS_HELD_BLOCK)
    ]


def next_task(scene: SceneState, last: str | None, rng: np.random.Generator) -> Task:
    """One of the possible tasks, rare ones more often.

    Raises:
        TaskError: nothing can be done.
    """
    tasks = possible_tasks(scene, last)
    if not tasks:
        raise TaskError("play: got a scene in which no task can be done, expected one; reset it")
    weights = np.array([_WEIGHTS.get(task.name, _WEIGHTS.get(task.group, 1.0)) for task in tasks])
    return tasks[int(rng.choice(len(tasks), p=weights / weights.sum()))]


def play(
    world: World,
    seed: int,
    segments: int,
    first_task: str,
    *,
    rate_hz: int = 10,
    noise_m: float = 0.01,
    attempt: Callable[[Task], bool] | None = None,
) -> Iterator[Segment]:
    """Yields `segments` tasks done in a row by the expert; after a failure the scene is reset.

    Args:
        world: The world; it is reset.
        seed: Of scenes, tasks, experts and disturbances.
        segments: How many tasks.
        first_task: Name of the first task, for which the scene is prepared.
        rate_hz: Samples a second.
        noise_m: Standard deviation of the disturbance of each coordinate [m].
        attempt: Somebody who tries each task first and says whether it is done. The expert then does, and a segment is
            yielded for, only what was not, from where the attempt left the arm and the table.
    """
    rng = np.random.default_rng([seed, 1])
    world.reset(seed, task=first_task)
    task, first = TASKS[first_task], True
    last: str | None = None
    for index in range(segments):
        if not first:
            try:
                task = next_task(world.scene(), last, rng)
            except TaskError:
                first = True
        if first and index > 0:
            world.reset(int(rng.integers(2**31)))
            task = next_task(world.scene(), None, rng)
        if attempt is not None:
            done = attempt(task)
            if done or not task.feasible(world.scene()):
                first, last = False, task.name if done else None
                continue
        cut = float(rng.uniform(*CUT_DELAY_S)) if rng.random() < CUT_SHARE else None
        demonstration = demonstrate(world, task, rng, rate_hz=rate_hz, noise_m=noise_m, stop_after_s=cut)
        yield Segment(index, first, task.name, demonstration)
        first, last = not demonstration.success, task.name
