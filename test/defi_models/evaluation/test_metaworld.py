import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is optional: requirements/metaworld.txt")

from defi_models.cli import main
from defi_models.contract import (
    ActionChunk,
    ConfigError,
    Imagination,
    Observation,
    PolicySpec,
    Promised,
    Proprioception,
)
from defi_models.datasets.metaworld import collect, record
from defi_models.evaluation.environment import check_policy, follow
from defi_models.evaluation.metaworld import ARMS
from defi_sim.metaworld import CAMERAS, STEP_NS, MetaWorldTable

SPEC = PolicySpec("replay", "replay", "any", ("static", "wrist"), (64, 64), "ee_pose", 10, STEP_NS, (1,))


@pytest.fixture(scope="module")
def table() -> Iterator[MetaWorldTable]:
    made = MetaWorldTable("reach-v3", 0, image_size=(64, 64))
    yield made
    made.close()


class Replay:
    """Plays an episode's targets back, chunk by chunk, by the time it is asked at."""

    def __init__(self, poses: np.ndarray, openings: np.ndarray) -> None:
        self.poses, self.openings = poses, openings
        self.spec = SPEC
        self.asked: list[int] = []

    def imagine(self, observation: Observation) -> Imagination:
        assert {image.shape for image in observation.images.values()} == {(64, 64, 3)}
        return Imagination(observation.time_ns, observation.instruction, "replay", np.zeros(1, np.float32))

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        first = imagination.time_ns // STEP_NS
        self.asked.append(first)
        rows = np.minimum(np.arange(first, first + 10), len(self.poses) - 1)
        return ActionChunk(imagination.time_ns, STEP_NS, "ee_pose", self.poses[rows], self.openings[rows], "any")

    def watch(self, imagination: Imagination) -> dict:
        return {}


def test_targets_of_a_demonstration_lead_a_policy_to_success(table: MetaWorldTable):
    episode = record(table, 1, np.random.default_rng(0), noise=0.1)
    assert episode.success
    assert set(episode.images) == set(CAMERAS)
    assert len(episode.target_pose) == len(episode.images["static"])
    table.reset(1)
    replay = Replay(episode.target_pose, episode.target_gripper)
    steps = follow(table, replay, "reach the goal", lambda: table.succeeded, 125, horizon=4)
    assert steps is not None
    assert replay.asked == list(range(0, steps, 4))  # a new chunk every 4 steps


def test_a_task_that_is_not_done_in_time_is_not_done(table: MetaWorldTable):
    table.reset(2)
    here = table.proprioception(0)
    replay = Replay(here.ee_pose[None], np.ones(1))
    assert follow(table, replay, "reach the goal", lambda: table.succeeded, 6) is None
    assert replay.asked == [0]
    assert not table.over
    np.testing.assert_allclose(table.proprioception(0).ee_pose[:3], here.ee_pose[:3], atol=0.02)


def test_the_same_seed_gives_the_same_arrangement_and_another_seed_another(table: MetaWorldTable):
    def goal(of: MetaWorldTable, arrangement: int) -> np.ndarray:
        of.reset(arrangement)
        return np.array(of._seen[-3:])

    np.testing.assert_array_equal(goal(table, 3), goal(table, 3))
    assert not np.allclose(goal(table, 3), goal(table, 4))
    assert not np.allclose(goal(table, 3), goal(MetaWorldTable("reach-v3", 1), 3))


def test_a_policy_that_does_not_fit_is_refused():
    from dataclasses import replace

    check_policy(SPEC, ARMS, tuple(CAMERAS), STEP_NS, "Meta-World")
    check_policy(replace(SPEC, arm="sawyer"), ARMS, tuple(CAMERAS), STEP_NS, "Meta-World")
    for changed, message in (
        ({"arm": "franka_panda"}, "got one for arm 'franka_panda', but Meta-World has a 'sawyer'"),
        ({"cameras": ("ceiling",)}, r"looks through \['ceiling'\], but Meta-World has"),
        ({"space": "joint_positions"}, "got space 'joint_positions'"),
        ({"needs_scene": True}, "a need of our scene"),
        ({"step_ns": 100_000_000}, r"got a step of 100.0 ms, but one of Meta-World takes 50.0 ms"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_policy(replace(SPEC, **changed), ARMS, tuple(CAMERAS), STEP_NS, "Meta-World")


def test_an_unknown_task_is_refused_with_those_that_exist(tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(ConfigError, match=r"got task 'fly-v3', expected one of \['assembly-v3'"):
        MetaWorldTable("fly-v3", 0)
    with pytest.raises(ConfigError, match=r"step: got 33.3333 ms, expected a multiple of Meta-World's own of 12.5 ms"):
        MetaWorldTable("reach-v3", 0, step_ns=33_333_300)
    assert main(["data", "metaworld", "--out", str(tmp_path), "--tasks", "fly-v3"]) == 2
    assert "--tasks: got ['fly-v3']" in capsys.readouterr().err
    assert main(["eval", "metaworld", "--policy", "expert", "--episodes", "51"]) == 2
    assert "--episodes: got 51, expected 1..50" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_judges_experts(tmp_path: Path, capsys: pytest.CaptureFixture):
    report = tmp_path / "score.json"
    judge = ["eval", "metaworld", "--policy", "expert", "--tasks", "reach-v3", "--episodes", "2", "--jobs", "1"]
    assert main([*judge, "--json", str(report)]) == 0
    assert "reach-v3" in capsys.readouterr().out
    assert json.loads(report.read_text())["seed"] == 10_000


def test_a_demonstration_that_exists_is_not_made_again(tmp_path: Path):
    kept = tmp_path / "episode_reach-v3_0000_00.npz"
    kept.write_text("kept")
    told = []
    options = {"seed": 0, "jobs": 1, "noise": 0.0, "progress": lambda *counts: told.append(counts)}
    assert collect(tmp_path, ["reach-v3"], 1, **options) == (1, 0)
    assert kept.read_text() == "kept"
    assert told == []
