from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from defi_models.contract import ConfigError
from defi_models.evaluation.interval import wilson_interval
from defi_models.evaluation.simpler import Simpler, StickyGripper, delta_action, score_of, standing_quaternion
from defi_models.evaluation.simpler_plan import KINDS, Kind, Setting, averages, episodes, intervals, settings


def test_the_numbers_of_episodes_are_those_of_the_benchmark():
    counts = {kind: Counter(setting.task for setting in settings(kind) for _ in episodes(setting)) for kind in KINDS}
    assert counts["visual_matching"] == {"pick_coke_can": 300, "move_near": 240, "drawer": 216}
    assert counts["variant_aggregation"] == {"pick_coke_can": 675, "move_near": 480, "drawer": 378}


def test_each_tasks_success_stands_beside_its_own_number_of_episodes():
    """The number of all was printed beside each task's share and interval."""
    results = [(setting, [True] * len(episodes(setting))) for setting in settings("visual_matching")]
    counts = score_of(results)["episodes"]
    assert counts == {"pick_coke_can": 300, "move_near": 240, "drawer": 216, "average": 756}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_have_names_of_their_own_and_only_visual_matching_lays_photographs(kind: Kind):
    every = settings(kind)
    assert len({setting.name for setting in every}) == len(every)
    overlays = [episode.overlay for setting in every for episode in episodes(setting)]
    assert all(overlay is not None for overlay in overlays) == (kind == "visual_matching")
    assert any(overlay is not None for overlay in overlays) == (kind == "visual_matching")


def test_drawers_have_113_steps_and_other_tasks_80():
    assert {(setting.task, setting.max_steps) for setting in settings("visual_matching")} == {
        ("pick_coke_can", 80),
        ("move_near", 80),
        ("drawer", 113),
    }


def test_groups_weigh_the_same_however_many_settings_they_have():
    def setting(task: str, group: str) -> Setting:
        return Setting("variant_aggregation", task, group, "e", "s")

    results = [
        (setting("drawer", "open"), [True, True]),
        (setting("drawer", "open"), [True, False]),
        (setting("drawer", "close"), [False] * 9),
        (setting("move_near", ""), [True]),
    ]
    assert averages(results) == {"move_near": 1.0, "drawer": 0.375, "average": 0.6875}


def test_settings_without_episodes_and_unknown_kinds_are_refused():
    with pytest.raises(ConfigError, match="got no episode of variant_aggregation/e/s"):
        averages([(Setting("variant_aggregation", "drawer", "open", "e", "s"), [])])
    with pytest.raises(ConfigError, match="got no setting"):
        averages([])
    with pytest.raises(ConfigError, match="got 'bridge', expected one of"):
        settings("bridge")  # pyright: ignore[reportArgumentType]


def test_a_delta_leads_from_one_pose_to_the_other_about_the_axes_of_the_base():
    rng = np.random.default_rng(0)
    since, target = (np.concatenate([rng.normal(size=3), Rotation.random(rng=rng).as_quat()]) for _ in range(2))
    delta = delta_action(target, since)
    np.testing.assert_allclose(since[:3] + delta[:3], target[:3])
    reached = Rotation.from_rotvec(delta[3:]) * Rotation.from_quat(since[3:])
    np.testing.assert_allclose((reached * Rotation.from_quat(target[3:]).inv()).magnitude(), 0, atol=1e-7)


def test_a_change_of_the_gripper_is_repeated_for_15_steps():
    gripper = StickyGripper()
    commands = [gripper.command(opening) for opening in [1.0] * 3 + [0.0] * 20]
    assert commands == [0.0] * 3 + [1.0] * 15 + [0.0] * 5
    assert gripper.command(1.0) == -1.0


def test_the_robot_stands_turned_by_half_a_turn():
    assert standing_quaternion(0.0) == pytest.approx((0, 0, 0, 1))


class Robot:
    """What SimplerEnv builds, as far as it is asked; remembers what it was told."""

    def __init__(self, name: str, **options: Any) -> None:
        arm = SimpleNamespace(
            ee_pose_at_base=SimpleNamespace(p=np.zeros(3), q=np.array([1.0, 0, 0, 0])), qpos=np.zeros(7)
        )
        controllers = {"arm": arm, "gripper": SimpleNamespace(qpos=np.array([1.31, 1.31]))}
        agent = SimpleNamespace(controller=SimpleNamespace(controllers=controllers))
        self.name, self.options, self.agent, self.actions = name, options, agent, []
        self.unwrapped = self

    def reset(self, options: dict[str, Any]) -> tuple[Any, Any]:
        self.started = options
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        self.actions.append(action)
        return self._seen(), 0.0, len(self.actions) == 1, len(self.actions) == 2, {}

    def _seen(self) -> Any:
        return {"image": {"overhead_camera": {"rgb": np.full((4, 5, 3), 7, np.uint8)}}}

    def close(self) -> None:
        pass


def test_an_episode_is_built_and_driven_as_the_scripts_of_the_benchmark_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made: list[Robot] = []

    def make(name: str, **options: Any) -> Robot:
        made.append(Robot(name, **options))
        return made[-1]

    module = SimpleNamespace(make=make, __file__=str(tmp_path / "repository" / "package" / "__init__.py"))
    monkeypatch.setattr("defi_models.evaluation.simpler.needed", lambda *_: module)
    setting = settings("visual_matching")[0]
    simulator = Simpler(setting, accumulates=False)
    simulator.reset(episodes(setting)[1])
    options = made[0].options
    assert (options["control_freq"], options["sim_freq"], options["max_episode_steps"]) == (3, 513, 80)
    photograph = tmp_path / "repository" / "data" / "real_inpainting" / "google_coke_can_real_eval_1.png"
    assert options["rgb_overlay_path"] == str(photograph)
    assert options["lr_switch"] is True
    np.testing.assert_allclose(made[0].started["robot_init_options"]["init_xy"], (0.35, 0.20))
    np.testing.assert_allclose(made[0].started["obj_init_options"]["init_xy"], (-0.35, 0.09))
    assert simulator.images()["static"].shape == (4, 5, 3)
    assert simulator.proprioception(0).gripper == 0.0  # both fingers at 1.31 rad are closed
    target = np.array([0.1, 0, 0, 0, 0, 0, 1.0])
    simulator.step(target, 1.0, target)
    np.testing.assert_allclose(made[0].actions[0], [0.1, 0, 0, 0, 0, 0, 0])
    assert (simulator.success, simulator.over) == (True, False)
    simulator.step(target, 0.0, target)  # closes; and success is that of the last step alone
    assert made[0].actions[1][6] == 1.0
    assert (simulator.success, simulator.over) == (False, True)


def test_without_simpler_the_message_says_what_to_install():
    with pytest.raises(ConfigError, match=r"got no module 'mani_skill2_real2sim'.*install github.com/simpler-env"):
        Simpler(settings("visual_matching")[0], accumulates=False)


def test_the_interval_is_of_the_average_and_not_of_all_episodes():
    """Episodes of tasks that have more of them weigh less each in the average."""
    plan = settings("visual_matching")
    results = [(setting, [setting.task == "pick_coke_can"] * len(episodes(setting))) for setting in plan]
    found = intervals(results)
    assert averages(results)["average"] == pytest.approx(1 / 3)
    assert found["pick_coke_can"] == pytest.approx(wilson_interval(300, 300)), "all its episodes weigh the same"
    worth = 9 / (1 / 300 + 1 / 240 + 1 / 216)  # a third of the average is of each task
    assert found["average"] == pytest.approx(wilson_interval(worth / 3, worth))
