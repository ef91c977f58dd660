"""Tasks: sentences find them, oracles compare start and now."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from defi_models.contract import TaskError
from defi_sim.block_tasks import held_block
from defi_sim.starts import Start, block_pose, down_pose
from defi_sim.state import CONTACT_PARTNERS, SceneState
from defi_sim.tasks import TASKS, task_for

YAWS = {"red_block": 0.3, "blue_block": 0.0, "pink_block": -0.4}


def scene(contacts: dict[str, set[str]] | None = None, **changed: npt.ArrayLike) -> SceneState:
    """A scene with the drawer closed, the door right, the lights off and all blocks on the table, but for `changed`."""
    start = Start(
        desk=np.zeros(2),
        drawer=0.0,
        door=0.0,
        switch=-0.6,
        led=False,
        blocks={
            name: block_pose(name, 0.38, y, YAWS[name]) for name, y in zip(YAWS, (-0.27, -0.16, -0.06), strict=True)
        },
        ee_pose=down_pose(np.array([0.4, 0.0, 0.3])),
        gripper=0.0,
    )
    values = {**start.scene().values, **{name: np.atleast_1d(value) for name, value in changed.items()}}
    for name, touching in (contacts or {}).items():
        values[f"{name}_contacts"] = np.array([float(partner in touching) for partner in CONTACT_PARTNERS])
    return SceneState(values)


def moved(name: str, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    pose = scene().block(name)
    lying = block_pose(name, pose[0] + x, pose[1] + y, YAWS[name] + yaw)
    lying[2] += z
    return lying


# All blocks further right, so that the pink one has room to its left.
BEHIND_PINK = {name: moved(name, y=-0.11) for name in YAWS}
IN_DRAWER = np.array([0.53, 0.19, 0.034, 0.0, 0.0, 0.0, 1.0])  # of a drawer that is 15 cm open
HELD_RED = {"red_block": moved("red_block", z=0.1), "contacts": {"red_block": {"robot"}}}


@pytest.mark.parametrize(
    ("task", "before", "after"),
    [
        ("open_drawer", {}, {"drawer": 0.13}),
        ("close_drawer", {"drawer": 0.15}, {"drawer": 0.01}),
        ("move_door_left", {}, {"door": 0.16}),
        ("move_door_right", {"door": 0.19}, {"door": 0.01}),
        ("turn_on_lamp", {}, {"lamp": 1.0}),
        ("turn_off_lamp", {"lamp": 1.0}, {"lamp": 0.0}),
        ("turn_on_led", {}, {"led": 1.0}),
        ("turn_off_led", {"led": 1.0}, {"led": 0.0}),
        ("push_red_block_right", {}, {"red_block": moved("red_block", y=-0.11)}),
        ("push_pink_block_left", BEHIND_PINK, {**BEHIND_PINK, "pink_block": moved("pink_block", y=0.01)}),
        ("rotate_red_block_left", {}, {"red_block": moved("red_block", yaw=1.2)}),
        ("rotate_red_block_right", {}, {"red_block": moved("red_block", yaw=-1.2)}),
        (
            "lift_blue_block",
            {},
            {"blue_block": moved("blue_block", z=0.06), "contacts": {"blue_block": {"robot"}}},
        ),
        (
            "place_in_drawer",
            {"drawer": 0.15, **HELD_RED},
            {"drawer": 0.15, "red_block": IN_DRAWER, "contacts": {"red_block": {"drawer"}}},
        ),
        ("place_on_table", HELD_RED, {}),
        (
            "stack_blocks",
            {},
            {"red_block": moved("blue_block", z=0.05), "contacts": {"red_block": {"blue_block"}}},
        ),
        (
            "unstack_blocks",
            {
                "red_block": moved("blue_block", z=0.05),
                "contacts": {"red_block": {"blue_block"}, "blue_block": {"table", "red_block"}},
            },
            {},
        ),
    ],
)
def test_a_task_succeeds_by_its_own_change_alone(task: str, before: dict, after: dict):
    start, now = scene(**before), scene(**after)
    assert TASKS[task].feasible(start)
    assert not TASKS[task].success(start, start)
    assert TASKS[task].success(start, now)
    assert not TASKS[task].success(now, start)


def test_half_of_the_way_is_no_success():
    assert not TASKS["open_drawer"].success(scene(), scene(drawer=0.08))
    assert not TASKS["move_door_left"].success(scene(), scene(door=0.1))
    assert not TASKS["push_red_block_left"].success(scene(), scene(red_block=moved("red_block", y=0.08)))
    assert not TASKS["rotate_red_block_left"].success(scene(), scene(red_block=moved("red_block", yaw=0.9)))


def test_a_lift_counts_only_in_the_gripper():
    up = moved("red_block", z=0.06)
    assert not TASKS["lift_red_block"].success(scene(), scene(red_block=up))
    resting = scene(red_block=up, contacts={"red_block": {"robot", "desk"}})
    assert not TASKS["lift_red_block"].success(scene(), resting)


def test_a_block_still_held_over_the_drawer_is_not_placed():
    start = scene(drawer=0.15, **HELD_RED)
    now = scene(drawer=0.15, contacts={"red_block": {"robot", "drawer"}})
    assert not TASKS["place_in_drawer"].success(start, now)


@pytest.mark.parametrize("off", [(-0.1, 0.0, 0.07), (0.0, 0.12, 0.0), (0.0, 0.0, 0.06), (0.13, 0.0, 0.0)])
def test_a_block_on_the_drawers_handle_or_rim_is_not_in_it(off: tuple[float, float, float]):
    """Any touch of the drawer once counted, also a bounce off its handle."""
    start = scene(drawer=0.15, **HELD_RED)
    now = scene(drawer=0.15, red_block=IN_DRAWER + np.array([*off, 0, 0, 0, 0]), contacts={"red_block": {"drawer"}})
    assert not TASKS["place_in_drawer"].success(start, now)


@pytest.mark.parametrize("turn", [(90, 0, 3), (0, 180, 3), (40, 0, 80), (0, 0, 40)])
def test_a_block_that_is_rolled_over_is_not_rotated(turn: tuple[float, float, float]):
    """CALVIN's oracle allows 30 degrees about the other axes."""
    start = scene()
    before = start.block("blue_block")
    rolled = (Rotation.from_euler("xyz", turn, degrees=True) * Rotation.from_quat(before[3:])).as_quat()
    now = scene(blue_block=np.array([*before[:3], *rolled]))
    assert not any(TASKS[f"rotate_blue_block_{side}"].success(start, now) for side in ("left", "right"))


def test_a_block_that_is_turned_and_carried_away_is_not_rotated():
    carried = scene(red_block=moved("red_block", y=-0.12, yaw=1.2))
    assert not TASKS["rotate_red_block_left"].success(scene(), carried)
    assert TASKS["rotate_red_block_left"].success(scene(), scene(red_block=moved("red_block", y=-0.05, yaw=1.2)))


def test_what_is_done_already_is_not_feasible():
    assert not TASKS["close_drawer"].feasible(scene())
    assert not TASKS["open_drawer"].feasible(scene(drawer=0.15))
    assert not TASKS["turn_off_led"].feasible(scene())
    assert not TASKS["place_on_table"].feasible(scene())
    assert not TASKS["unstack_blocks"].feasible(scene())


def test_every_task_of_the_table_is_there():
    assert len(TASKS) == 27
    assert {task.group for task in TASKS.values()} == {
        "drawer",
        "door",
        "lamp",
        "led",
        "lift",
        "place",
        "push",
        "rotate",
        "stack",
    }


def test_every_instruction_finds_its_own_task_whatever_its_case_and_spaces():
    said = [words for task in TASKS.values() for words in task.instructions]
    assert len(said) == len(set(said))
    for task in TASKS.values():
        assert len(task.instructions) >= 3
        for words in task.instructions:
            assert task_for(f"  {words.upper().replace(' ', '   ')}. ") is task


def test_an_unknown_instruction_is_answered_with_the_nearest_ones():
    with pytest.raises(TaskError, match=r"got 'open the drawr', which no task knows.*'open the drawer'"):
        task_for("open the drawr")


def test_an_empty_instruction_says_what_was_expected():
    with pytest.raises(
        TaskError, match=r"got an empty text, expected what the robot should do, as in 'open the drawer'"
    ):
        task_for("   ")


def test_a_pushed_block_that_loses_the_table_for_an_instant_is_not_held():
    robot_alone = {"red_block": {"robot"}}
    assert held_block(scene(contacts=robot_alone)) is None
    assert held_block(scene(red_block=moved("red_block", z=0.02), contacts=robot_alone)) == "red_block"
