"""Training a few steps: every stage, from episodes to a policy; resuming; clear refusals."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import WORDS, tiny_config, tiny_episodes

from defi_models.contract import ConfigError
from defi_models.datasets.episodes import DatasetError, episode_files, load_episode
from defi_models.datasets.frames import open_frames
from defi_models.inference.load import load_policy
from defi_models.training.loop import Step, TrainingError, fit, learning_rate
from defi_models.training.presets import STAGES, Preset, Schedule, preset
from defi_models.training.stages import STAGE_FUNCTIONS, Run

CAMERAS = ("static", "wrist")
SCHEDULE = Schedule(steps=6, batch=4, learning_rate=1e-2)
TINY = Preset(
    name="tiny",
    model=lambda words: replace(tiny_config(), text=replace(tiny_config().text, words=words or WORDS)),
    schedules={stage: Schedule(steps=2, batch=2, learning_rate=1e-3) for stage in STAGES},
    windows=8,
)


def test_all_stages_make_a_policy_that_runs(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    lines: list[str] = []
    for stage in STAGES:
        STAGE_FUNCTIONS[stage](Run(TINY, frames, tmp_path, 0, "franka_panda", lines.append))
    policy = load_policy(str(tmp_path / "checkpoint"))
    assert policy.spec.name == "tiny"
    assert any("held-out" in line for line in lines)


def test_stage_without_the_one_before_names_it(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    with pytest.raises(TrainingError, match=r"autoencoder\.safetensors is missing: run `defi train autoencoder`"):
        STAGE_FUNCTIONS["gfdm"](Run(TINY, frames, tmp_path, 0, "franka_panda", lambda _: None))


class KilledError(Exception):
    """Stands for a kill between two steps."""


def run_fit(out: Path, stop_at: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, dict[str, float]]:
    monkeypatch.setattr("defi_models.training.loop.SAVE_EVERY_S", 0.0)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
    counted = torch.zeros(())
    module.register_buffer("counted", counted)

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        if step.index == stop_at:
            raise KilledError
        counted.add_(step.count)
        x = torch.from_numpy(step.rng.normal(size=(4, 3)))[step.own].float() + step.normal(3)
        return module(x).square().mean(), {"counted": counted.item()}

    schedule = replace(SCHEDULE, steps=20, accumulate=2)
    figures = fit(module, loss, schedule, out / "run", seed=3)
    return torch.cat([p.flatten() for p in module.parameters()]), figures


def test_a_killed_and_resumed_run_equals_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, figures = run_fit(tmp_path / "a", None, monkeypatch)
    for kill_at in (4, 19):  # the second within the last tenth, which the figures are of
        with pytest.raises(KilledError):
            run_fit(tmp_path / "b", kill_at, monkeypatch)
        assert os.listdir(tmp_path / "b") == ["run.state"]
        again, figures_again = run_fit(tmp_path / "b", None, monkeypatch)
        torch.testing.assert_close(again, whole, rtol=0, atol=0)
        assert figures_again == figures
        assert os.listdir(tmp_path / "b") == []


def test_state_of_another_model_is_refused_with_the_first_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    other = torch.nn.Linear(2, 1)
    with pytest.raises(
        TrainingError, match=r"belongs to another model: 6 weights differ, the first is weight\.0\.bias"
    ):
        fit(other, lambda _: (other.weight.sum(), {}), SCHEDULE, tmp_path / "run", seed=0)


def test_half_written_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    state = tmp_path / "run.state"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"run\.state: cannot be read .* delete it to begin the stage anew"):
        run_fit(tmp_path, None, monkeypatch)


def test_loss_that_is_not_finite_stops_with_the_step(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        fit(module, lambda _: (module.weight.sum() * float("nan"), {}), SCHEDULE, tmp_path / "x", seed=0)


def test_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    schedule = Schedule(steps=1000, batch=1, learning_rate=1.0)
    rates = [learning_rate(schedule, step) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no training preset 'nanno'\. Did you mean 'nano'"):
        preset("nanno")


def test_windows_are_held_at_the_end_of_their_episode(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path, count=2, samples=5), CAMERAS, 32)
    np.testing.assert_array_equal(frames.clip(np.array([3, 6]), np.arange(4)), [[3, 4, 4, 4], [6, 7, 8, 9]])
    action = frames.action(4, 3)
    np.testing.assert_allclose(action[:, 0], 0.01)
    np.testing.assert_allclose(action[:, 6], -1.0)


def test_pixels_are_those_of_the_episode(tmp_path: Path) -> None:
    folder = tiny_episodes(tmp_path, count=1, samples=3)
    frames = open_frames(folder, CAMERAS, 40)
    episode = load_episode(episode_files(folder)[0])
    np.testing.assert_array_equal(frames.pixels[:, 1], episode.images["wrist"])


def test_dataset_without_the_needed_camera_names_both(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no images of camera \['wrist'\]; it has \['static'\]"):
        open_frames(tiny_episodes(tmp_path, cameras=("static",)), CAMERAS, 32)


def test_empty_folder_says_how_to_make_episodes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="defi data sim"):
        open_frames(tmp_path, CAMERAS, 32)


def test_damaged_episode_is_named(tmp_path: Path) -> None:
    folder = tiny_episodes(tmp_path, count=1)
    path = episode_files(folder)[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match="cannot be read as an episode"):
        load_episode(path)
