"""Oracles of the blocks: lift, place, push, rotate, stack, unstack. What a block touches decides more than where it is."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from defi_models.contract import FloatArray
from defi_sim.scene import (
    BLOCK_HALF_SIZES,
    BLOCKS,
    DESK_FRONT_X,
    DRAWER_HIGH,
    DRAWER_LOW,
    DRAWER_TRAVEL,
    DRAWER_Y,
)
from defi_sim.state import SceneState
from defi_sim.task import Task

LIFTED_M = 0.05
HELD_M = 0.01
PUSHED_M = 0.10
# CALVIN's bounds of a rotation (defi-model 7.1): what counts about the vertical, and the most about other axes and away.
ROTATED_RAD, TIPPED_RAD, SHIFTED_M = math.radians(60.0), math.radians(30.0), 0.10
DRAWER_OPEN_M = 0.75 * DRAWER_TRAVEL
# Where the gripper can work on a block on the table [m].
REACH_X, REACH_Y = (0.27, 0.435), (-0.46, -0.03)
GRASP_CLEARANCE_M = 0.085  # to the next block: open fingers reach 5.5 cm from the middle
# A pushed block goes up to 17 cm; the open drawer begins at y = 0.07 and a block's corner is 5 cm from its middle.
PUSH_TRAVEL_M, PUSH_LEFT_FROM_Y, PUSH_RIGHT_FROM_Y = 0.17, -0.15, -0.28
PUSH_LANE_M = 0.095


def yaw_of(pose: FloatArray) -> float:
    """Rotation of a pose about the vertical [rad], -pi..pi."""
    x, y, z, w = pose[3:]
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def held_block(scene: SceneState) -> str | None:
    """The block in the gripper: touched by the robot and by nothing else, and off the table.

    A block that is pushed loses contact with the table for an instant now and then.
    """
    return next((name for name in BLOCKS if scene.touching(name) == {"robot"} and _raised(scene, name)), None)


def _raised(scene: SceneState, block: str) -> bool:
    return bool(scene.block(block)[2] > BLOCK_HALF_SIZES[block][2] + HELD_M)


def stacked_pair(scene: SceneState) -> tuple[str, str] | None:
    """(upper, lower) where one block rests on another alone."""
    for upper in BLOCKS:
        touching = scene.touching(upper)
        lower = [name for name in BLOCKS if name in touching]
        higher = [name for name in lower if scene.block(upper)[2] > scene.block(name)[2] + 0.02]
        if len(lower) == 1 and higher and touching == set(lower):
            return upper, lower[0]
    return None


def on_table(scene: SceneState, block: str) -> bool:
    """Whether a block lies on the table with nothing on it, where the gripper can work."""
    x, y = scene.block(block)[:2]
    free = scene.touching(block) <= {"table", "desk"} and "table" in scene.touching(block)
    return free and bool(REACH_X[0] <= x <= REACH_X[1] and REACH_Y[0] <= y <= REACH_Y[1])


def graspable(scene: SceneState, block: str) -> bool:
    """Whether a block lies on the table with room for the fingers around it."""
    here = scene.block(block)[:2]
    gaps = [np.linalg.norm(scene.block(other)[:2] - here) for other in BLOCKS if other != block]
    return on_table(scene, block) and bool(min(gaps) >= GRASP_CLEARANCE_M)


def _lifted(block: str, start: SceneState, now: SceneState) -> bool:
    rise = now.block(block)[2] - start.block(block)[2]
    return bool(rise >= LIFTED_M) and now.touching(block) == {"robot"} and start.touching(block) != {"robot"}


def in_drawer(scene: SceneState, block: str) -> bool:
    """Whether the middle of a block is inside the drawer, below its rim."""
    desk_x, desk_y = scene.values["desk"]
    front = (DESK_FRONT_X + desk_x - scene.number("drawer"), DRAWER_Y + desk_y, 0.0)
    inside = scene.block(block)[:3] - front
    return bool((inside >= DRAWER_LOW).all() and (inside <= DRAWER_HIGH).all())


def _placed(where: str, start: SceneState, now: SceneState) -> bool:
    block = held_block(start)
    if block is None:
        return False
    touching = now.touching(block)
    return where in touching and "robot" not in touching and (where != "drawer" or in_drawer(now, block))


def _pushed(block: str, direction: float, start: SceneState, now: SceneState) -> bool:
    moved = direction * (now.block(block)[1] - start.block(block)[1])
    return bool(moved >= PUSHED_M) and "table" in now.touching(block) and "table" in start.touching(block)


def _push_feasible(block: str, direction: float, start: SceneState) -> bool:
    x, y = start.block(block)[:2]
    if not graspable(start, block) or (y > PUSH_LEFT_FROM_Y if direction > 0 else y < PUSH_RIGHT_FROM_Y):
        return False
    for other in BLOCKS:
        ahead = direction * (start.block(other)[1] - y)
        if other != block and -0.1 < ahead < PUSH_TRAVEL_M + 0.08 and abs(start.block(other)[0] - x) < PUSH_LANE_M:
            return False
    return True


def _rotated(block: str, direction: float, start: SceneState, now: SceneState) -> bool:
    before, after, touching = start.block(block), now.block(block), now.touching(block)
    turn = Rotation.from_quat(after[3:]) * Rotation.from_quat(before[3:]).inv()
    about_x, about_y, about_z = turn.as_euler("xyz")
    stands = max(abs(about_x), abs(about_y)) <= TIPPED_RAD and np.linalg.norm((after - before)[:3]) <= SHIFTED_M
    return direction * about_z > ROTATED_RAD and bool(stands) and "table" in touching and "robot" not in touching


def _stacked(start: SceneState, now: SceneState) -> bool:
    return stacked_pair(start) is None and stacked_pair(now) is not None


def _unstacked(start: SceneState, now: SceneState) -> bool:
    pair = stacked_pair(start)
    if pair is None or stacked_pair(now) is not None:
        return False
    return "table" in now.touching(pair[0]) and "robot" not in now.touching(pair[0])


def _stack_feasible(start: SceneState) -> bool:
    if stacked_pair(start) is not None:
        return False
    held = held_block(start)
    lying = [name for name in BLOCKS if graspable(start, name)]
    return len(lying) >= (1 if held else 2)


def _unstack_feasible(start: SceneState) -> bool:
    pair = stacked_pair(start)
    return pair is not None and "table" in start.touching(pair[1]) and held_block(start) is None


def _colour_tasks(block: str) -> tuple[Task, ...]:
    colour = block.removesuffix("_block")
    tasks = [
        Task(
            f"lift_{block}",
            "lift",
            (f"lift the {colour} block", f"pick up the {colour} block", f"grasp the {colour} block and lift it up"),
            lambda start, now: _lifted(block, start, now),
            lambda start: graspable(start, block),
        )
    ]
    for side, direction in (("left", 1.0), ("right", -1.0)):
        tasks.append(
            Task(
                f"push_{block}_{side}",
                "push",
                (
                    f"push the {colour} block to the {side}",
                    f"slide the {colour} block towards the {side}",
                    f"go push the {colour} block {side}",
                ),
                lambda start, now, direction=direction: _pushed(block, direction, start, now),
                lambda start, direction=direction: _push_feasible(block, direction, start),
            )
        )
        tasks.append(
            Task(
                f"rotate_{block}_{side}",
                "rotate",
                (
                    f"rotate the {colour} block to the {side}",
                    f"turn the {colour} block {side}",
                    f"grasp the {colour} block and rotate it {side}",
                ),
                lambda start, now, direction=direction: _rotated(block, direction, start, now),
                lambda start: graspable(start, block),
            )
        )
    return tuple(tasks)


BLOCK_TASKS: tuple[Task, ...] = (
    *(task for block in BLOCKS for task in _colour_tasks(block)),
    Task(
        "place_in_drawer",
        "place",
        ("place the block in the drawer", "put the grasped block in the drawer", "drop the block into the open drawer"),
        lambda start, now: _placed("drawer", start, now),
        lambda start: held_block(start) is not None and start.number("drawer") >= DRAWER_OPEN_M,
    ),
    Task(
        "place_on_table",
        "place",
        ("place the block on the table", "put the grasped block down on the table", "set the block down on the table"),
        lambda start, now: _placed("table", start, now),
        lambda start: held_block(start) is not None,
    ),
    Task(
        "stack_blocks",
        "stack",
        ("stack the blocks", "put one block on top of another", "stack one block on another block"),
        _stacked,
        _stack_feasible,
    ),
    Task(
        "unstack_blocks",
        "stack",
        ("unstack the blocks", "take the upper block off the other", "take down the block that lies on the other"),
        _unstacked,
        _unstack_feasible,
    ),
)
