"""Where everything starts: seeded draws of fixtures, blocks and the arm's first pose. No physics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from defi_models.contract import DefiError, FloatArray
from defi_sim.scene import BLOCK_HALF_SIZES, BLOCKS, DOOR_TRAVEL, DRAWER_TRAVEL, SWITCH_TRAVEL_RAD
from defi_sim.state import CONTACT_PARTNERS, SceneState
from defi_sim.style import draw_desk
from defi_sim.task import Task

# Where blocks lie [m]: the hand, 10 cm to each side, has room between them and the open drawer and the door's handle.
BLOCK_ZONE_X, BLOCK_ZONE_Y = (0.335, 0.42), (-0.38, -0.05)
BLOCK_SPACING_M = 0.105
ARM_ZONE_LOW, ARM_ZONE_HIGH = np.array([0.36, -0.16, 0.22]), np.array([0.52, 0.16, 0.36])
ARM_TILT_RAD, ARM_YAW_RAD = 0.06, 0.25
OPEN_SHARE = 0.3  # starts with an open gripper
MAX_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the scene.

    Attributes:
        desk: Offset of the desk from its drawn place, shape (2,) [m].
        drawer: Travel [m].
        door: Travel [m].
        switch: Lever angle [rad]; positive lights the lamp.
        led: Whether the LED is lit.
        blocks: Pose of each block, shape (7,).
        ee_pose: Pose of the tool centre point, shape (7,).
        gripper: Opening 0..1; unused when a block is held.
        held: The block in the gripper, or None.
        stacked: (upper, lower) of two stacked blocks, or None.
    """

    desk: FloatArray
    drawer: float
    door: float
    switch: float
    led: bool
    blocks: dict[str, FloatArray]
    ee_pose: FloatArray
    gripper: float
    held: str | None = None
    stacked: tuple[str, str] | None = None

    def scene(self) -> SceneState:
        """What the start looks like to an oracle, with the contacts it intends."""
        touching: dict[str, tuple[str, ...]] = {
            name: ("robot",) if name == self.held else ("table",) for name in BLOCKS
        }
        if self.stacked is not None:
            upper, lower = self.stacked
            touching |= {upper: (lower,), lower: ("table", upper)}
        return SceneState(
            {
                "desk": self.desk,
                "drawer": np.array([self.drawer]),
                "door": np.array([self.door]),
                "switch": np.array([self.switch]),
                "lamp": np.array([float(self.switch > 0)]),
                "button": np.zeros(1),
                "led": np.array([float(self.led)]),
                **self.blocks,
                **{
                    f"{name}_contacts": np.array([float(partner in touching[name]) for partner in CONTACT_PARTNERS])
                    for name in BLOCKS
                },
            }
        )


def draw_start(rng: np.random.Generator, split: str = "train") -> Start:
    """A start with every fixture at one of its ends, blocks apart from each other and the arm above the table."""
    drawer = rng.uniform(0.0, 0.006) if rng.random() < 0.5 else DRAWER_TRAVEL - rng.uniform(0.0, 0.012)
    door = rng.uniform(0.0, 0.012) if rng.random() < 0.5 else DOOR_TRAVEL - rng.uniform(0.0, 0.012)
    switch = (1.0 if rng.random() < 0.5 else -1.0) * (SWITCH_TRAVEL_RAD - rng.uniform(0.0, 0.06))
    return Start(
        desk=draw_desk(rng, split),
        drawer=float(drawer),
        door=float(door),
        switch=float(switch),
        led=bool(rng.random() < 0.5),
        blocks=_draw_blocks(rng),
        ee_pose=draw_ee_pose(rng),
        gripper=1.0 if rng.random() < OPEN_SHARE else 0.0,
    )


def draw_start_for(task: Task, rng: np.random.Generator, split: str = "train") -> Start:
    """A start from which `task` is feasible.

    Raises:
        DefiError: none was found, which means that the task's condition is too narrow.
    """
    for _ in range(MAX_DRAWS):
        start = draw_start(rng, split)
        if task.group == "place" or (task.name == "stack_blocks" and rng.random() < 0.5):
            start = _holding(start, rng)
        elif task.name == "unstack_blocks":
            start = _stacked(start, rng)
        elif task.group == "push":
            start = _cleared(start, task.name)
        if task.feasible(start.scene()):
            return start
    raise DefiError(f"task {task.name!r}: got no feasible start in {MAX_DRAWS} draws, expected one")


def _holding(start: Start, rng: np.random.Generator) -> Start:
    """`start` with one of its blocks in the gripper."""
    block = BLOCKS[int(rng.integers(len(BLOCKS)))]
    position, yaw = start.ee_pose[:3], rng.uniform(-ARM_YAW_RAD, ARM_YAW_RAD)
    turned = np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)])
    return replace(
        start,
        ee_pose=down_pose(position, yaw),
        gripper=0.0,
        held=block,
        blocks={**start.blocks, block: np.concatenate([position, turned])},
    )


def _cleared(start: Start, push_task: str) -> Start:
    """`start` with its blocks exchanged so that none lies ahead of the one to be pushed."""
    subject = next(name for name in BLOCKS if name in push_task)
    ahead = max if push_task.endswith("left") else min
    first = ahead(BLOCKS, key=lambda name: start.blocks[name][1])
    place, other = start.blocks[first], start.blocks[subject]
    heights = {name: BLOCK_HALF_SIZES[name][2] for name in (first, subject)}
    moved = {
        first: np.array([*other[:2], heights[first], *other[3:]]),
        subject: np.array([*place[:2], heights[subject], *place[3:]]),
    }
    return replace(start, blocks={**start.blocks, **moved})


def _stacked(start: Start, rng: np.random.Generator) -> Start:
    """`start` with one of its blocks on top of another."""
    upper, lower = (BLOCKS[k] for k in rng.permutation(len(BLOCKS))[:2])
    below = start.blocks[lower]
    yaw = 2.0 * math.atan2(below[5], below[6]) + rng.uniform(-0.15, 0.15)
    x, y = below[:2] + rng.uniform(-0.004, 0.004, 2)
    lying = block_pose(upper, x, y, yaw, floor_z=2.0 * BLOCK_HALF_SIZES[lower][2])
    return replace(start, blocks={**start.blocks, upper: lying}, stacked=(upper, lower))


def draw_ee_pose(rng: np.random.Generator) -> FloatArray:
    """A pose of the tool centre point above the table, pointing down within a few degrees."""
    tilt = rng.uniform(-ARM_TILT_RAD, ARM_TILT_RAD, 2)
    pose = down_pose(rng.uniform(ARM_ZONE_LOW, ARM_ZONE_HIGH), rng.uniform(-ARM_YAW_RAD, ARM_YAW_RAD))
    # (1, 0, 0, 0) turned by a small tilt stays a unit quaternion once normalised.
    pose[5:7] += tilt / 2
    pose[3:] /= np.linalg.norm(pose[3:])
    return pose


def down_pose(position: FloatArray, yaw_rad: float = 0.0) -> FloatArray:
    """The pose at `position` that points down, its fingers opening along y when `yaw_rad` is 0; shape (7,)."""
    return np.array([*position, math.cos(yaw_rad / 2), math.sin(yaw_rad / 2), 0.0, 0.0])


def block_pose(name: str, x: float, y: float, yaw_rad: float, floor_z: float = 0.0) -> FloatArray:
    """The pose of a block lying on `floor_z`, shape (7,)."""
    height = BLOCK_HALF_SIZES[name][2] + floor_z
    return np.array([x, y, height, 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)])


def _draw_blocks(rng: np.random.Generator) -> dict[str, FloatArray]:
    for _ in range(10 * MAX_DRAWS):
        places = np.stack([rng.uniform(*BLOCK_ZONE_X, len(BLOCKS)), rng.uniform(*BLOCK_ZONE_Y, len(BLOCKS))], axis=1)
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(BLOCKS), 1)]
        if gaps.min() >= BLOCK_SPACING_M:
            yaws = rng.uniform(-math.pi / 2, math.pi / 2, len(BLOCKS))
            return {name: block_pose(name, x, y, yaw) for name, (x, y), yaw in zip(BLOCKS, places, yaws, strict=True)}
    raise DefiError(
        f"blocks: got none of {10 * MAX_DRAWS} draws with {BLOCK_SPACING_M} m between blocks, expected one; enlarge BLOCK_ZONE"
    )


def at_start(state: SceneState, drawn: Start) -> Start:
    """`drawn` with fixtures and blocks where `state` has them; a block that was held there falls."""
    return replace(
        drawn,
        desk=state.values["desk"],
        drawer=state.number("drawer"),
        door=state.number("door"),
        switch=state.number("switch"),
        led=state.number("led") > 0,
        blocks={name: state.block(name) for name in BLOCKS},
    )
