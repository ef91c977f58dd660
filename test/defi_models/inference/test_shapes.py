"""Cameras, image size, action space, proprioception, chunk and horizon are numbers of a model, not of the code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_policies import PolicyContract
from tiny import DOWN, tiny_checkpoint, tiny_config

from defi_models.contract import ActionChunk, ConfigError, Imagination, Observation, Promised, Proprioception
from defi_models.inference.defi_policy import DefiPolicy
from defi_models.inference.engine import Words
from defi_models.inference.load import load_policy

TINY = tiny_config()
VARIANTS = {
    "one camera": replace(TINY, cameras=("static",)),
    "three cameras": replace(TINY, cameras=("static", "wrist", "roof")),
    "larger images": replace(TINY, gfdm=replace(TINY.gfdm, image_size=64)),
    "joint positions": replace(TINY, action_encoding="joint_positions", action_width=7),
    "absolute poses": replace(TINY, action_encoding="absolute_pose"),
    "CALVIN's steps": replace(TINY, action_encoding="accumulated_pose"),
    "joint positions told by joints": replace(
        TINY, action_encoding="joint_positions", action_width=8, proprioception_width=8
    ),
    "no proprioception": replace(TINY, proprioception_width=0),
    "a long chunk": replace(TINY, chunk_steps=12, step_ns=33_333_333, horizon_steps=4),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_policy_of_this_shape_runs_and_says_so(name: str, tmp_path: Path) -> None:
    config = VARIANTS[name]
    policy = load_policy(str(tiny_checkpoint(tmp_path / "policy", config=config).folder), backend="torch")
    spec = policy.spec
    assert spec.cameras == config.cameras
    assert spec.image_size == (config.gfdm.image_size,) * 2
    assert spec.reads_tool_pose == (config.proprioception_width == 10)
    assert (spec.chunk_steps, spec.horizon_steps) == (config.chunk_steps, config.horizon_steps)
    imagination = policy.imagine(PolicyContract().observation(policy))
    assert imagination.features.shape == spec.feature_shape
    chunk = policy.act(imagination, PolicyContract().state())
    joints = config.action_encoding == "joint_positions"
    assert chunk.space == spec.space == ("joint_positions" if joints else "ee_pose")
    assert spec.joints == (config.action_width - 1 if joints else None)
    assert chunk.targets.shape == (config.chunk_steps, config.action_width - 1 if joints else 7)


def test_without_proprioception_the_state_of_the_arm_changes_nothing_but_where_actions_start(tmp_path: Path) -> None:
    config = replace(TINY, proprioception_width=0)
    policy = load_policy(str(tiny_checkpoint(tmp_path / "policy", config=config).folder), backend="torch")
    imagination = policy.imagine(PolicyContract().observation(policy))
    here, there = (policy.act(imagination, PolicyContract().state(x)) for x in (0.4, 0.5))
    np.testing.assert_allclose(there.targets[:, 0] - here.targets[:, 0], 0.1, atol=1e-9)
    np.testing.assert_allclose(there.targets[:, 1:], here.targets[:, 1:], atol=1e-9)


def test_without_proprioception_no_number_of_it_reaches_the_networks(tmp_path: Path) -> None:
    """Graphs take none, and were given ten."""
    given: list[np.ndarray] = []

    class Remembers:
        """An engine of both halves."""

        def words(self, tokens: np.ndarray) -> Words:
            return Words(np.zeros((1, 6, 16), np.float32), np.ones((1, 6), bool), np.zeros((1, 16), np.float32))

        def actions(
            self,
            features: np.ndarray,
            words: Words,
            proprioception: np.ndarray,
            promised: np.ndarray,
            weight: np.ndarray,
        ) -> np.ndarray:
            given.append(proprioception)
            return np.zeros((TINY.chunk_steps, TINY.action_width), np.float32)

    for width in (0, 10):
        config = replace(TINY, proprioception_width=width)
        checkpoint = tiny_checkpoint(tmp_path / f"policy{width}", config=config)
        policy = DefiPolicy(checkpoint, None, Remembers())
        seen = Imagination(
            0, "open the drawer", policy.spec.fingerprint, np.zeros(policy.spec.feature_shape, np.float32)
        )
        policy.act(seen, PolicyContract().state())
    assert [state.shape for state in given] == [(1, 0), (1, 10)]


def test_a_width_of_proprioception_that_no_robot_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match="got proprioception_width 7, expected 10, or 0 for none"):
        replace(TINY, proprioception_width=7)


def test_a_policy_says_how_many_targets_it_wants_carried_out(tmp_path: Path) -> None:
    from defi_models.evaluation.environment import follow

    class Table:
        """Counts how often it is looked at."""

        step_ns, looks = 33_333_333, 0

        def images(self) -> dict[str, np.ndarray]:
            self.looks += 1
            return {name: np.zeros((40, 40, 3), np.uint8) for name in TINY.cameras}

        def proprioception(self, time_ns: int) -> Proprioception:
            return Proprioception(time_ns, np.zeros(7), DOWN, 0.0)

        def step(self, *_: object) -> None:
            pass

    folder = tiny_checkpoint(tmp_path / "policy", config=VARIANTS["a long chunk"]).folder
    policy, looks = load_policy(str(folder), backend="torch"), {}
    for horizon in (None, 2, 12):
        table = Table()
        assert follow(table, policy, "open the drawer", lambda: False, 12, horizon) is None  # type: ignore[arg-type]
        looks[horizon] = table.looks
    assert looks == {None: 3, 2: 6, 12: 1}


def test_the_past_chunk_is_continued_in_any_action_space(tmp_path: Path) -> None:
    """What was promised comes back as it was, which takes the same encoding there and back."""
    for name in ("joint positions", "absolute poses", "CALVIN's steps"):
        policy = load_policy(str(tiny_checkpoint(tmp_path / name, config=VARIANTS[name]).folder), backend="torch")
        imagination = policy.imagine(Observation(1_000, PolicyContract().observation(policy).images, "open the drawer"))
        first = policy.act(imagination, PolicyContract().state())
        promised = ActionChunk(
            1_000, first.step_ns, first.space, first.targets[:2] * 1.0, np.ones(2), first.arm, first.instruction
        )
        again = policy.act(imagination, PolicyContract().state(), Promised(promised, np.ones(2)))
        np.testing.assert_allclose(again.targets[:2], promised.targets, atol=1e-5)
