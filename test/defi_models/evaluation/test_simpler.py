from collections import Counter

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from defi_models.contract import ConfigError
from defi_models.evaluation.simpler import Simpler, StickyGripper, delta_action, standing_quaternion
from defi_models.evaluation.simpler_plan import KINDS, Kind, Setting, averages, episodes, settings


def test_the_numbers_of_episodes_are_those_of_the_benchmark():
    counts = {kind: Counter(setting.task for setting in settings(kind) for _ in episodes(setting)) for kind in KINDS}
    assert counts["visual_matching"] == {"pick_coke_can": 300, "move_near": 240, "drawer": 216}
    assert counts["variant_aggregation"] == {"pick_coke_can": 675, "move_near": 480, "drawer": 378}


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


def test_without_simpler_the_message_says_what_to_install():
    with pytest.raises(ConfigError, match=r"got no module 'mani_skill2_real2sim'.*install github.com/simpler-env"):
        Simpler(settings("visual_matching")[0], accumulates=False)
