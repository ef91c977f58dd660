import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from defi_models.cli import main
from defi_models.evaluation.calvin import SENTENCES, relative_action, tip_pose
from defi_models.evaluation.calvin_chains import (
    CHAINS,
    ROBOT_START,
    TASKS,
    chains_from,
    fnv1_32,
    is_valid,
    outcomes,
    scene_start,
    starts,
)

STARTS = starts()
# The first chains of the benchmark as published: led, lightbulb, slider, drawer, red, blue, pink, grasped.
PUBLISHED = [
    (
        (1, 1, "left", "open", "slider_left", "table", "slider_right", 0),
        (
            "rotate_blue_block_right",
            "move_slider_right",
            "lift_red_block_slider",
            "place_in_slider",
            "turn_off_lightbulb",
        ),
    ),
    (
        (1, 1, "right", "open", "slider_right", "table", "slider_left", 0),
        ("turn_off_led", "push_into_drawer", "lift_blue_block_drawer", "place_in_slider", "close_drawer"),
    ),
    (
        (0, 1, "right", "closed", "table", "slider_right", "slider_left", 0),
        ("lift_pink_block_slider", "place_in_slider", "open_drawer", "rotate_red_block_right", "lift_red_block_table"),
    ),
    (
        (0, 0, "right", "closed", "table", "slider_left", "table", 0),
        ("open_drawer", "rotate_red_block_right", "turn_on_led", "lift_pink_block_table", "stack_block"),
    ),
]


@pytest.mark.parametrize(("values", "tasks"), PUBLISHED)
def test_the_published_chains_are_drawn_from_their_starts(values: tuple, tasks: tuple[str, ...]):
    number = next(k for k, state in enumerate(STARTS) if tuple(state.values()) == values)
    assert tasks in [chain.tasks for chain in chains_from(number, STARTS[number], 6)]


def test_there_are_34_tasks_192_starts_and_a_sentence_for_each_task():
    assert len(TASKS) == len(set(TASKS)) == 34
    assert len(STARTS) == 192
    assert set(SENTENCES) == set(TASKS)
    assert {len(share) for share in np.array_split(range(CHAINS), len(STARTS))} == {5, 6}


def test_a_chain_with_a_category_twice_or_an_impossible_task_is_not_valid():
    start = STARTS[0]
    assert start["drawer"] == "closed"
    assert is_valid(start, ("open_drawer", "turn_on_led"))
    assert not is_valid(start, ("turn_on_led", "turn_on_lightbulb"))
    assert not is_valid(start, ("close_drawer",))
    assert not is_valid(start, ("stack_block",))


def test_a_block_in_the_cabinet_is_lifted_only_where_the_door_is_not():
    state = {**STARTS[0], "red_block": "slider_left", "slider": "left"}
    assert outcomes(state, "lift_red_block_slider") == []
    (after,) = outcomes({**state, "slider": "right"}, "lift_red_block_slider")
    assert (after["red_block"], after["grasped"]) == ("grasped", 1)


def test_the_hash_is_that_of_pyhash():
    assert fnv1_32("test") == 3910690890  # pyhash 0.9.3: pyhash.fnv1_32()("test")


def test_the_scene_of_a_start_shows_its_state_and_is_the_same_each_time():
    for state in STARTS[::17]:
        scene = scene_start(state)
        np.testing.assert_array_equal(scene, scene_start(state))
        assert scene.shape == (24,)
        assert (scene[0] > 0) == (state["slider"] == "left")
        assert (scene[1] > 0) == (state["drawer"] == "open")
        assert (scene[4], scene[5]) == (state["lightbulb"], state["led"])
        places = scene[6:].reshape(3, 6)
        assert len({tuple(place[:2].round(6)) for place in places}) == 3  # no block in another
        assert (np.abs(places[:, 5] - np.pi / 2) <= np.pi / 8).all()


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.floats(0, 1))
def test_added_to_the_pose_a_relative_action_gives_the_target(numbers: list[float], gripper: float):
    since = tip_pose(ROBOT_START)
    move, turn = 0.02 * np.array(numbers[:3]), 0.05 * np.array(numbers[3:])
    angles = Rotation.from_quat(since[3:]).as_euler("xyz") + turn
    target = np.concatenate([since[:3] + move, Rotation.from_euler("xyz", angles).as_quat()])
    action = relative_action(target, gripper, since)
    np.testing.assert_allclose(action[:6], numbers, atol=1e-6)
    assert action[6] == (1 if gripper > 0.5 else -1)


def test_without_calvin_the_command_says_what_to_install(tmp_path, capsys: pytest.CaptureFixture):
    from defi_models.contract import ConfigError
    from defi_models.evaluation.calvin import Calvin

    with pytest.raises(ConfigError, match=r"CALVIN: got no module 'calvin_env'.*install github.com/mees/calvin_env"):
        Calvin(tmp_path, accumulates=False)
    assert main(["eval", "calvin", "--policy", "scripted", "--dataset", str(tmp_path)]) == 2
    assert "a need of our scene" in capsys.readouterr().err
