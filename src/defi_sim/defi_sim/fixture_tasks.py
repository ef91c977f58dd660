"""Oracles of the drawer, the door, the lamp and the LED."""

from __future__ import annotations

from defi_sim.scene import DOOR_TRAVEL, DRAWER_TRAVEL
from defi_sim.state import SceneState
from defi_sim.task import Task

# Three quarters of the travel, as the play table of CALVIN asks of its own drawer and door.
DRAWER_MOVED_M = 0.75 * DRAWER_TRAVEL  # 0.12 m
DOOR_MOVED_M = 0.75 * DOOR_TRAVEL  # 0.15 m


def _moved(name: str, distance_m: float, start: SceneState, now: SceneState) -> bool:
    """Whether a fixture moved by `distance_m`, in the direction of its sign, since the start."""
    moved = now.number(name) - start.number(name)
    return moved >= distance_m if distance_m > 0 else moved <= distance_m


def _travel_task(name: str, group: str, distance_m: float, travel_m: float, instructions: tuple[str, ...]) -> Task:
    def feasible(start: SceneState) -> bool:
        at = start.number(group)
        return at <= travel_m - distance_m if distance_m > 0 else at >= -distance_m

    return Task(name, group, instructions, lambda start, now: _moved(group, distance_m, start, now), feasible)


def _light_task(name: str, light: str, lit: bool, instructions: tuple[str, ...]) -> Task:
    return Task(
        name,
        light,
        instructions,
        lambda start, now: (start.number(light) > 0) != lit and (now.number(light) > 0) == lit,
        lambda start: (start.number(light) > 0) != lit,
    )


FIXTURE_TASKS: tuple[Task, ...] = (
    _travel_task(
        "open_drawer",
        "drawer",
        DRAWER_MOVED_M,
        DRAWER_TRAVEL,
        ("open the drawer", "pull the drawer open", "pull the handle to open the drawer", "go and open the drawer"),
    ),
    _travel_task(
        "close_drawer",
        "drawer",
        -DRAWER_MOVED_M,
        DRAWER_TRAVEL,
        ("close the drawer", "push the drawer shut", "push the handle to close the drawer", "shut the drawer"),
    ),
    _travel_task(
        "move_door_left",
        "door",
        DOOR_MOVED_M,
        DOOR_TRAVEL,
        (
            "move the door to the left",
            "slide the door left",
            "push the sliding door to the left",
            "move the sliding door all the way to the left",
        ),
    ),
    _travel_task(
        "move_door_right",
        "door",
        -DOOR_MOVED_M,
        DOOR_TRAVEL,
        (
            "move the door to the right",
            "slide the door right",
            "push the sliding door to the right",
            "move the sliding door all the way to the right",
        ),
    ),
    _light_task(
        "turn_on_lamp",
        "lamp",
        True,
        (
            "turn on the lamp",
            "switch on the yellow lamp",
            "push the switch to turn on the lamp",
            "light the lamp with the switch",
        ),
    ),
    _light_task(
        "turn_off_lamp",
        "lamp",
        False,
        (
            "turn off the lamp",
            "switch off the yellow lamp",
            "pull the switch to turn off the lamp",
            "put out the lamp with the switch",
        ),
    ),
    _light_task(
        "turn_on_led",
        "led",
        True,
        (
            "turn on the led",
            "press the button to turn on the led",
            "switch on the green led",
            "push the button so that the green light comes on",
        ),
    ),
    _light_task(
        "turn_off_led",
        "led",
        False,
        (
            "turn off the led",
            "press the button to turn off the led",
            "switch off the green led",
            "push the button so that the green light goes out",
        ),
    ),
)
