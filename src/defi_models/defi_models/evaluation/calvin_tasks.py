"""What CALVIN's benchmark says for each of its 34 tasks, and when its oracle counts one as done.

Facts from `new_playtable_validation.yaml` and `rollout/tasks/new_playtable_tasks.yaml` of github.com/mees/calvin. The
rules stand here and are not read from the installed `calvin_env`: forks of it have looser ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from defi_models.evaluation.calvin_chains import COLOURS

ROTATED_DEG, PUSHED_M, SLID_M, PULLED_M, LIFTED_M, LIFTED_IN_CABINET_M = 60, 0.1, 0.15, 0.12, 0.05, 0.03
_LIFTED_FROM = {
    "table": ("grasp and lift the {} block", LIFTED_M, "base_link"),
    "slider": ("lift the {} block from the sliding cabinet", LIFTED_IN_CABINET_M, "plank_link"),
    "drawer": ("Take the {} block from the drawer", LIFTED_M, "drawer_link"),
}


def _sentences() -> dict[str, str]:
    words = {
        f"{verb}_{colour}_block_{side}": sentence.format(colour, side)
        for (verb, sentence), colour, side in product(
            (("rotate", "take the {} block and rotate it to the {}"), ("push", "go push the {} block {}")),
            COLOURS,
            ("right", "left"),
        )
    }
    for colour, (place, (sentence, _, _)) in product(COLOURS, _LIFTED_FROM.items()):
        words[f"lift_{colour}_block_{place}"] = sentence.format(colour)
    for word in ("on", "off"):
        words[f"turn_{word}_lightbulb"] = f"use the switch to turn {word} the light bulb"
        words[f"turn_{word}_led"] = f"press the button to turn {word} the led light"
    for side in ("left", "right"):
        words[f"move_slider_{side}"] = f"push the sliding door to the {side} side"
    return words | {
        "open_drawer": "pull the handle to open the drawer",
        "close_drawer": "push the handle to close the drawer",
        "place_in_slider": "store the grasped block in the sliding cabinet",
        "place_in_drawer": "store the grasped block in the drawer",
        "push_into_drawer": "slide the block that it falls into the drawer",
        "stack_block": "stack the grasped block",
        "unstack_block": "remove the stacked block",
    }


def _rules() -> dict[str, list[Any]]:
    rules: dict[str, list[Any]] = {
        "move_slider_left": ["move_door_rel", "base__slide", SLID_M],
        "move_slider_right": ["move_door_rel", "base__slide", -SLID_M],
        "open_drawer": ["move_door_rel", "base__drawer", PULLED_M],
        "close_drawer": ["move_door_rel", "base__drawer", -PULLED_M],
        "place_in_slider": ["place_object", "table", "plank_link"],
        "place_in_drawer": ["place_object", "table", "drawer_link"],
        "stack_block": ["stack_objects"],
        "unstack_block": ["unstack_objects"],
    }
    blocks = [f"block_{colour}" for colour in COLOURS]
    for colour, block in zip(COLOURS, blocks, strict=True):
        for side, sign in (("right", 1), ("left", -1)):
            rules[f"rotate_{colour}_block_{side}"] = ["rotate_object", block, -sign * ROTATED_DEG]
            rules[f"push_{colour}_block_{side}"] = ["push_object", block, sign * PUSHED_M, 0]
        for place, (_, height, link) in _LIFTED_FROM.items():
            rules[f"lift_{colour}_block_{place}"] = ["lift_object", block, height, "table", link]
    for light in ("lightbulb", "led"):
        rules[f"turn_on_{light}"] = ["toggle_light", light, 0, 1]
        rules[f"turn_off_{light}"] = ["toggle_light", light, 1, 0]
    rules["push_into_drawer"] = ["push_object_into", blocks, "table", "base_link", "table", "drawer_link"]
    return rules


SENTENCES: Mapping[str, str] = _sentences()
"""Task -> the one sentence that it is asked for with."""
RULES: Mapping[str, Sequence[Any]] = _rules()
"""Task -> a function of `calvin_env.envs.tasks.Tasks` and its arguments."""
