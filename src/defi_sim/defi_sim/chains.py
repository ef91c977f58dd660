"""Chains of the long-horizon benchmark: five tasks in a row that can be done one after the other, drawn symbolically.

The rules are those of CALVIN's benchmark (Mees et al. 2022): a seeded start; five tasks, each possible after the
effects of those before it; no two of one category; with a block in the gripper only what puts it somewhere. No
physics here: what a task does to the scene is a table of effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from defi_models.contract import DefiError
from defi_sim.block_tasks import DRAWER_OPEN_M, graspable
from defi_sim.scene import BLOCKS, DOOR_TRAVEL
from defi_sim.starts import Start, draw_start_for
from defi_sim.style import SceneStyle
from defi_sim.task import Task
from defi_sim.tasks import TASKS

LENGTH = 5
MAX_DRAWS = 1000
# One task of each of these a chain, as in CALVIN, where rotating and pushing count as one and so do both lights.
_CATEGORIES = {"push": "turn or push", "rotate": "turn or push", "lamp": "light", "led": "light"}
# A start is drawn for one of these; pushes several times, for few scenes have a free lane to push along.
_PREPARED = tuple(
    task.name
    for task in TASKS.values()
    for _ in range(4 if task.group == "push" else 1)
    if task.name not in ("place_in_drawer", "place_on_table", "unstack_blocks")
)
# Possible tasks are drawn by these, so that none is rare: a push can only come first, a block in the gripper only after a
# lift. Of the 1000 tasks of 200 chains each is asked 10 to 97 times; seven chains in ten begin with a push or a rotation.
_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"lift": 1.2, "push": 16.0, "rotate": 1.0, "stack_blocks": 0.6, "unstack_blocks": 2.0, "place_in_drawer": 6.0}
    | {"drawer": 1.0, "door": 1.0, "lamp": 1.0, "led": 1.0, "place_on_table": 0.5}
)


@dataclass(frozen=True, slots=True)
class Symbols:
    """What is known of a scene without physics.

    Attributes:
        drawer_open: Whether a block can be put into the drawer.
        door_left: Whether the door is at its left end.
        lamp: Whether the lamp is lit.
        led: Whether the LED is lit.
        free: Blocks on the table that can be grasped.
        pushes: Tasks of pushing for which there is a free lane.
        held: Whether a block is in the gripper.
        tower: Whether two blocks are stacked.
    """

    drawer_open: bool
    door_left: bool
    lamp: bool
    led: bool
    free: frozenset[str]
    pushes: frozenset[str]
    held: bool = False
    tower: bool = False

    @classmethod
    def of(cls, start: Start) -> Symbols:
        """What is known of a start; its gripper is empty and nothing is stacked."""
        scene = start.scene()
        return cls(
            drawer_open=scene.number("drawer") >= DRAWER_OPEN_M,
            door_left=scene.number("door") > DOOR_TRAVEL / 2,
            lamp=scene.number("lamp") > 0,
            led=scene.number("led") > 0,
            free=frozenset(block for block in BLOCKS if graspable(scene, block)),
            pushes=frozenset(task.name for task in TASKS.values() if task.group == "push" and task.feasible(scene)),
        )

    def allows(self, task: str) -> bool:
        """Whether a task can be done, by its name."""
        if self.held:
            allowed = {
                "place_on_table": True,
                "place_in_drawer": self.drawer_open,
                "stack_blocks": bool(self.free) and not self.tower,
            }
            return allowed.get(task, False)
        fixtures = {
            "open_drawer": not self.drawer_open,
            "close_drawer": self.drawer_open,
            "move_door_left": not self.door_left,
            "move_door_right": self.door_left,
            "turn_on_lamp": not self.lamp,
            "turn_off_lamp": self.lamp,
            "turn_on_led": not self.led,
            "turn_off_led": self.led,
            "stack_blocks": len(self.free) >= 2 and not self.tower,
            "unstack_blocks": self.tower,
        }
        if task in fixtures:
            return fixtures[task]
        if task.startswith("push_"):
            return task in self.pushes
        return any(block in task for block in self.free)

    def after(self, task: str) -> Symbols:
        """What is known once a task is done. Where a moved block lies is not, so lanes are no longer known to be free."""
        fixtures: dict[str, Symbols] = {
            "open_drawer": replace(self, drawer_open=True),
            "close_drawer": replace(self, drawer_open=False),
            "move_door_left": replace(self, door_left=True),
            "move_door_right": replace(self, door_left=False),
            "turn_on_lamp": replace(self, lamp=True),
            "turn_off_lamp": replace(self, lamp=False),
            "turn_on_led": replace(self, led=True),
            "turn_off_led": replace(self, led=False),
        }
        if task in fixtures:
            return fixtures[task]
        block = next((name for name in BLOCKS if name in task), "")
        unknown = replace(self, pushes=frozenset())
        if task.startswith("lift_"):
            return replace(unknown, free=self.free - {block}, held=True)
        if task.startswith("push_"):
            return replace(unknown, free=self.free - {block})
        if task == "stack_blocks":  # any two: none is known to be free
            return replace(unknown, free=frozenset(), held=False, tower=True)
        if task == "unstack_blocks":
            return replace(unknown, tower=False)
        return replace(unknown, held=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """Tasks to be done in a row.

    Attributes:
        start: Where everything is at first.
        style: How it looks.
        tasks: Names of the tasks.
    """

    start: Start
    style: SceneStyle
    tasks: tuple[str, ...]


def category(task: Task) -> str:
    """What a chain has only one of."""
    if task.group == "stack":
        return task.name
    return _CATEGORIES.get(task.group, task.group)


def draw_chain(seed: int, index: int, split: str = "test") -> Chain:
    """Chain number `index` of a benchmark: the same numbers give the same chain.

    Raises:
        ConfigError: there is no such split.
        DefiError: no chain was found, which means that the rules are too narrow.
    """
    rng = np.random.default_rng([seed, index])
    style = SceneStyle.draw(rng, split)
    for _ in range(MAX_DRAWS):
        start = draw_start_for(TASKS[str(rng.choice(_PREPARED))], rng, split)
        tasks = _draw_tasks(Symbols.of(start), rng) if start.held is None else None
        if tasks is not None:
            return Chain(start, style, tasks)
    raise DefiError(f"chain {index} of seed {seed}: got none in {MAX_DRAWS} draws, expected one")


def _draw_tasks(symbols: Symbols, rng: np.random.Generator) -> tuple[str, ...] | None:
    """Tasks that are possible in turn, rare ones more often; None at a dead end."""
    chosen: list[Task] = []
    while len(chosen) < LENGTH:
        used = {category(task) for task in chosen}
        possible = [task for task in TASKS.values() if category(task) not in used and symbols.allows(task.name)]
        if not possible:
            return None
        weights = np.array([_WEIGHTS.get(task.name, _WEIGHTS.get(task.group, 1.0)) for task in possible])
        chosen.append(possible[int(rng.choice(len(possible), p=weights / weights.sum()))])
        symbols = symbols.after(chosen[-1].name)
    return tuple(task.name for task in chosen)
