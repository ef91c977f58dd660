"""An expert takes over where a policy fails, and what it shows becomes data."""

from pathlib import Path

import numpy as np
import pytest

from defi_models.contract import ActionChunk, ConfigError, Imagination, Promised, Proprioception
from defi_models.datasets.episodes import load_episode
from defi_models.evaluation import corrections
from defi_models.evaluation.corrections import Correct, Outcome, Wanted, correct
from defi_models.evaluation.rollout import Timing
from defi_models.inference.scripted_policy import ScriptedPolicy
from defi_sim.world import World


class Rising(ScriptedPolicy):
    """Goes straight up, whatever it is told."""

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        chunk = super().act(imagination, proprioception)
        up = chunk.targets.copy()
        up[:] = proprioception.ee_pose
        up[:, 2] += 0.05
        return ActionChunk(chunk.start_ns, chunk.step_ns, chunk.space, up, 0 * chunk.gripper, chunk.arm)


def wanted(out: Path, in_a_row: int) -> Wanted:
    return Wanted("rising", "torch", out, in_a_row, 10, 0.0, Timing())


def test_the_expert_goes_on_from_where_the_policy_left_the_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corrections, "TRIES_S", (1.0, 1.5))
    with World() as world:
        world.reset(7, task="turn_on_led")
        begin = world.ee_pose()
        outcome = correct(world, Rising(), wanted(tmp_path, 1), 7, "turn_on_led")
    assert outcome == Outcome(done=0, shown=1, failed=0)
    (path,) = tmp_path.iterdir()
    episode = load_episode(path)
    assert episode.success
    assert episode.task == "turn_on_led"
    assert episode.ee_pose[0, 2] > begin[2] + 0.03
    np.testing.assert_allclose(episode.ee_pose[0, :2], begin[:2], atol=0.02)


def test_what_the_policy_does_itself_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corrections, "TRIES_S", (12.0, 12.5))
    with World() as world:
        outcome = correct(world, ScriptedPolicy(), wanted(tmp_path, 2), 7, "open_drawer")
    assert outcome == Outcome(done=2, shown=0, failed=0)
    assert not list(tmp_path.iterdir())


def test_the_expert_itself_is_not_corrected(tmp_path: Path):
    import argparse

    parser = argparse.ArgumentParser()
    Correct().add_arguments(parser)
    args = parser.parse_args(["--policy", "scripted", "--out", str(tmp_path / "data")])
    with pytest.raises(ConfigError, match="--policy: got 'scripted', which is the expert itself, expected one that"):
        Correct().run(args)
    assert not (tmp_path / "data").exists()
