import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from defi_models.cli import main
from defi_models.contract import ActionChunk, Imagination, Observation, PolicySpec, Proprioception
from defi_models.evaluation.calvin import STEP_NS, Calvin, relative_action, run_chain, tip_pose
from defi_models.evaluation.calvin_chains import (
    CHAINS,
    ROBOT_START,
    TASKS,
    CalvinChain,
    chains_from,
    fnv1_32,
    is_valid,
    outcomes,
    scene_start,
    starts,
)
from defi_models.evaluation.calvin_tasks import RULES, SENTENCES

STARTS = starts()
CHAINS_SHA = "a81bcfbaf8a3c1f3"
FIRST_SCENE = np.array([
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2299954, -0.1199951, 0.45999, 0.0, 0.0, 1.4418709,
    0.0500001, -0.1200002, 0.45999, 0.0, 0.0, 1.4098807, 0.0703416, 0.0924045, 0.46099, 0.0, 0.0, 1.5630616,
])  # fmt: skip
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


def test_chains_and_scenes_stay_those_that_were_held_against_the_published_ones():
    """Of every 16th start: all thousand take a minute."""
    chains = [chain for number in range(0, 192, 16) for chain in chains_from(number, STARTS[number], 6)]
    said = json.dumps([[list(chain.start.values()), chain.tasks] for chain in chains])
    assert (len(chains), hashlib.sha256(said.encode()).hexdigest()[:16]) == (72, CHAINS_SHA)
    np.testing.assert_allclose(scene_start(chains[0].start), FIRST_SCENE, atol=1e-6)


def test_each_task_has_the_rule_of_the_benchmark():
    assert set(RULES) == set(TASKS)
    assert RULES["rotate_red_block_left"] == ["rotate_object", "block_red", 60]
    assert RULES["push_pink_block_left"] == ["push_object", "block_pink", -0.1, 0]
    assert RULES["lift_blue_block_slider"] == ["lift_object", "block_blue", 0.03, "table", "plank_link"]
    assert RULES["close_drawer"] == ["move_door_rel", "base__drawer", -0.12]


class FakeTable:
    """CALVIN's play table as far as it is used: adds actions up, in place as the real one, and shows black images."""

    def __init__(self) -> None:
        self.pose, self.actions = np.array(ROBOT_START, np.float64), []

    def reset(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> dict:
        assert scene_obs.shape == (24,)
        self.pose = np.array(robot_obs, np.float64)
        return self.seen()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, dict]:
        self.actions.append(action.copy())
        action[:3] *= 0.02
        self.pose[:3] += action[:3]
        return self.seen(), 0.0, False, {}

    def get_info(self) -> dict:
        return {"x": self.pose[0]}

    def seen(self) -> dict:
        images = {"rgb_static": np.zeros((200, 200, 3)), "rgb_gripper": np.zeros((84, 84, 3))}
        return {"rgb_obs": images, "robot_obs": self.pose.copy()}


class FakeTasks:
    """CALVIN's oracle: every task is done when the arm is 3 cm ahead of where the task began."""

    def __init__(self, rules: dict) -> None:
        assert rules["open_drawer"] == ["move_door_rel", "base__drawer", 0.12]

    def get_task_info_for_set(self, begin: dict, now: dict, tasks: set[str]) -> set[str]:
        return tasks if now["x"] - begin["x"] > 0.03 else set()


class Ahead:
    """Asks for places 1 cm further ahead a step, up to a limit."""

    def __init__(self, limit: float) -> None:
        self.spec = PolicySpec("ahead", "ahead", "any", ("static", "wrist"), (64, 64), "ee_pose", 10, STEP_NS, (1,))
        self.limit, self.told = limit, []

    def imagine(self, observation: Observation) -> Imagination:
        assert {image.dtype for image in observation.images.values()} == {np.dtype(np.uint8)}
        self.told.append(observation.instruction)
        return Imagination(observation.time_ns, observation.instruction, "ahead", np.zeros(1, np.float32))

    def act(self, imagination: Imagination, proprioception: Proprioception, promised: None = None) -> ActionChunk:
        targets = np.tile(proprioception.ee_pose, (10, 1))
        targets[:, 0] = np.minimum(targets[:, 0] + 0.01 * np.arange(1, 11), self.limit)
        return ActionChunk(imagination.time_ns, STEP_NS, "ee_pose", targets, np.ones(10), "any")


@pytest.mark.parametrize("accumulates", [False, True])
def test_a_chain_is_run_in_calvins_simulator_task_by_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulates: bool
):
    (tmp_path / "validation" / ".hydra").mkdir(parents=True)
    (tmp_path / "validation" / ".hydra" / "merged_config.yaml").write_text("")
    fake = FakeTable()
    for name, module in {
        "calvin_env": SimpleNamespace(),
        "calvin_env.envs.play_table_env": SimpleNamespace(get_env=lambda folder, show_gui: fake),
        "calvin_env.envs.tasks": SimpleNamespace(Tasks=FakeTasks),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    table, policy = Calvin(tmp_path, accumulates=accumulates), Ahead(ROBOT_START[0] + 0.075)
    tasks = ("open_drawer", "turn_on_led", "move_slider_left", "close_drawer", "turn_off_led")
    run = run_chain(table, policy, CalvinChain(STARTS[0], tasks), 0, 12, None)  # type: ignore[arg-type]
    assert run.steps == (4, 4), "each counts from where the one before it ended, and the arm stops at its limit"
    assert policy.told[:2] == [SENTENCES["open_drawer"], SENTENCES["turn_on_led"]]
    np.testing.assert_allclose(fake.actions[0][:3], [0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(fake.actions[0][6], 1.0)


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
