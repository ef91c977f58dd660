"""The chains of CALVIN's long-horizon benchmark and the physical states they start from; needs no simulator.

Facts from `calvin_models/calvin_agent/evaluation/multistep_sequences.py` and `utils.py` of github.com/mees/calvin
(Mees et al. 2022): 34 tasks in a fixed order with conditions and effects, 192 starts, NumPy's legacy generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np

from defi_models.contract import ConfigError, FloatArray, frozen_array

State = Mapping[str, int | str]
Rule = tuple[Mapping[str, object], Mapping[str, int | str]]
LENGTH = 5
CHAINS = 1000
COLOURS = ("red", "blue", "pink")
BLOCKS = tuple(f"{colour}_block" for colour in COLOURS)
SIDES = ("right", "left")
_IN_SLIDER = ("slider_right", "slider_left")
# What each part of a start may be, in the order that its hash is taken over.
_START_VALUES: Mapping[str, tuple[int | str, ...]] = MappingProxyType(
    {
        "led": (0, 1),
        "lightbulb": (0, 1),
        "slider": SIDES,
        "drawer": ("closed", "open"),
        **{block: ("table", *_IN_SLIDER) for block in BLOCKS},
        "grasped": (0,),
    }
)


@dataclass(frozen=True, slots=True)
class CalvinChain:
    """One chain.

    Attributes:
        start: What is where at first, symbolically.
        tasks: Names of its tasks.
    """

    start: State
    tasks: tuple[str, ...]


def _rules() -> dict[str, list[Rule]]:
    """Task -> (condition, effect) for each way it can be done. The order of the tasks is part of the benchmark."""
    empty: dict[str, int | str] = {"grasped": 0}
    full: dict[str, int | str] = {"grasped": 1}
    rules: dict[str, list[Rule]] = {}
    for verb, block, side in product(("rotate", "push"), BLOCKS, SIDES):
        rules[f"{verb}_{block}_{side}"] = [({block: "table"} | empty, {block: "table"})]
    for side, other in (("left", "right"), ("right", "left")):
        rules[f"move_slider_{side}"] = [({"slider": other} | empty, {"slider": side})]
    rules["open_drawer"] = [({"drawer": "closed"} | empty, {"drawer": "open"})]
    rules["close_drawer"] = [({"drawer": "open"} | empty, {"drawer": "closed"})]
    for block in BLOCKS:
        held = {block: "grasped"} | full
        rules[f"lift_{block}_table"] = [({block: "table"} | empty, held)]
        # A block in the cabinet is behind the door when the door is on its side.
        rules[f"lift_{block}_slider"] = [
            ({block: "slider_left", "slider": "right"} | empty, held),
            ({block: "slider_right", "slider": "left"} | empty, held),
        ]
        rules[f"lift_{block}_drawer"] = [({block: "drawer", "drawer": "open"} | empty, held)]
    rules["place_in_slider"] = [
        ({block: "grasped", "slider": side} | full, {block: f"slider_{side}"} | empty)
        for block, side in product(BLOCKS, SIDES)
    ]
    rules["place_in_drawer"] = [
        ({block: "grasped", "drawer": "open"} | full, {block: "drawer"} | empty) for block in BLOCKS
    ]
    pairs = [(upper, lower) for upper, lower in product(BLOCKS, BLOCKS) if upper != lower]
    rules["stack_block"] = [
        ({upper: "grasped", lower: "table"} | full, {upper: "stacked_top", lower: "stacked_bottom"} | empty)
        for upper, lower in pairs
    ]
    rules["unstack_block"] = [
        ({upper: "stacked_top", lower: "stacked_bottom"} | empty, {upper: "table", lower: "table"})
        for upper, lower in pairs
    ]
    for light, (word, before, after) in product(("lightbulb", "led"), (("on", 0, 1), ("off", 1, 0))):
        rules[f"turn_{word}_{light}"] = [({light: before} | empty, {light: after})]
    rules["push_into_drawer"] = [
        (
            {block: "table", "drawer": "open"} | empty | {other: _IN_SLIDER for other in BLOCKS if other != block},
            {block: "drawer"} | empty,
        )
        for block in BLOCKS
    ]
    return rules


RULES: Mapping[str, list[Rule]] = MappingProxyType(_rules())
TASKS = tuple(RULES)


def category(task: str) -> str:
    """What a chain has only one of: rotating and pushing are one, all lights are one, a lift is one a place."""
    if task.startswith("lift_"):
        return f"lift from the {task.rsplit('_', 1)[1]}"
    if task == "push_into_drawer":
        return task
    words = {"rotate": "move a block", "push": "move a block", "move": "slider", "place": "place", "turn": "light"}
    words |= {"open": "drawer", "close": "drawer"}
    return words.get(task.split("_", 1)[0], task)


_CATEGORIES = tuple(category(task) for task in TASKS)


def outcomes(state: State, task: str) -> list[State]:
    """The states a task can lead to, one for each of its rules whose condition holds."""
    return [
        {**state, **effect}
        for condition, effect in RULES[task]
        if all(state[key] in want if isinstance(want, tuple) else state[key] == want for key, want in condition.items())
    ]


def is_valid(start: State, tasks: tuple[str, ...]) -> bool:
    """Whether each task in turn can be done in exactly one way and no category comes twice."""
    state = start
    for task in tasks:
        reached = outcomes(state, task)
        if len(reached) != 1:
            return False
        state = reached[0]
    return len({category(task) for task in tasks}) == len(tasks)


def starts() -> list[State]:
    """The 192 starts: one or two blocks on the table, at most one on each side of the cabinet."""
    every = (dict(zip(_START_VALUES, values, strict=True)) for values in product(*_START_VALUES.values()))
    return [state for state in every if _is_start(list(state.values()))]


def _is_start(values: list[int | str]) -> bool:
    return values.count("table") in (1, 2) and all(values.count(place) < 2 for place in _IN_SLIDER)


def chains_from(number: int, start: State, count: int) -> list[CalvinChain]:
    """The first `count` chains of one start, which is number `number` of `starts`."""
    rng = np.random.RandomState(number)
    chains: list[CalvinChain] = []
    while len(chains) < count:
        drawn = rng.permutation(len(TASKS))[:LENGTH].tolist()
        # Most draws end at this check, which costs little.
        if len({_CATEGORIES[k] for k in drawn}) == LENGTH:
            tasks = tuple(TASKS[k] for k in drawn)
            if is_valid(start, tasks):
                chains.append(CalvinChain(start, tasks))
    return chains


def draw_chains(count: int = CHAINS) -> list[CalvinChain]:
    """The benchmark's chains in its order; its published figures are over 1000.

    Raises:
        ConfigError: the count is not positive.
    """
    if count < 1:
        raise ConfigError(f"chains: got {count}, expected at least 1")
    begin = starts()
    shares = [len(share) for share in np.array_split(range(count), len(begin))]
    chains = [chain for number, share in enumerate(shares) for chain in chains_from(number, begin[number], share)]
    np.random.RandomState(0).shuffle(chains)  # pyright: ignore[reportArgumentType]  a list is shuffled in place
    return chains


# Start of the robot: tool centre point [m] and its Euler angles [rad], opening [m], seven joints [rad], gripper open.
_TIP_START = (0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585)
_JOINTS_START = (-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928)
ROBOT_START = frozen_array("robot start", (*_TIP_START, 0.07999963, *_JOINTS_START, 1.0), (15,))
_SLIDER_SPOTS = {
    "slider_left": (-0.240851662, 0.0924044687, 0.460990009),
    "slider_right": (0.0703416330, 0.0924044687, 0.460990009),
}
_TABLE_SPOTS = ((0.0500000896, -0.120000177, 0.459990009), (0.229995412, -0.119995140, 0.459990010))
SLIDER_OPEN_M, DRAWER_OPEN_M, SWITCH_ON_RAD = 0.28, 0.22, 0.088
SCENE_WIDTH = 24


def scene_start(start: State) -> FloatArray:
    """The scene a chain starts from, as CALVIN's `scene_obs`, shape (24,).

    Fixtures and lights, then x, y, z [m] and Euler angles [rad] of the three blocks. Where blocks on the table lie and
    how they are turned is drawn from a seed that is a hash of the state.
    """
    rng = np.random.RandomState(fnv1_32(str(dict(start).values())))
    spots = [np.array(spot) for spot in _TABLE_SPOTS]
    rng.shuffle(spots)  # pyright: ignore[reportArgumentType]  a list is shuffled in place
    scene = np.zeros(SCENE_WIDTH)
    scene[0] = SLIDER_OPEN_M * (start["slider"] == "left")
    scene[1] = DRAWER_OPEN_M * (start["drawer"] == "open")
    scene[3] = SWITCH_ON_RAD * (start["lightbulb"] == 1)
    scene[4], scene[5] = float(start["lightbulb"]), float(start["led"])
    # The first spot is the red block's, or the blue one's where the red one is elsewhere; the pink one has the second.
    taken = {"red_block": 0, "blue_block": int(start["red_block"] == "table"), "pink_block": 1}
    for number, block in enumerate(BLOCKS):
        first = 6 + 6 * number
        place = str(start[block])
        scene[first : first + 3] = _SLIDER_SPOTS[place] if place in _SLIDER_SPOTS else spots[taken[block]]
        scene[first + 5] = rng.uniform(np.pi / 2 - np.pi / 8, np.pi / 2 + np.pi / 8)
    return scene


def fnv1_32(text: str) -> int:
    """The hash that CALVIN takes of a state, as `pyhash.fnv1_32()` computes it: over UTF-16, beginning at 0."""
    value = 0
    for byte in text.encode("utf-16-le"):
        value = (value * 0x01000193) % 2**32 ^ byte
    return value
