"""Processes that train together keep one model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from defi_models.training import parallel
from defi_models.training.loop import Step, fit
from defi_models.training.presets import Schedule


def train(out: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 1)

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(step.rng.normal(size=(8, 4))).float()
        return (module(x).squeeze(-1) - x.sum(-1)).square().mean(), {"first": x[0, 0].item()}

    figures = fit(module, loss, Schedule(40, 8, 0.1, ema=0.5), out / "run", seed=0, progress=lambda _: None)
    tensors = {**module.state_dict(), "first": torch.tensor(figures["first"]), "loss": torch.tensor(figures["loss"])}
    save_file(tensors, str(out / f"{parallel.rank()}.safetensors"))


@pytest.mark.slow
def test_two_processes_draw_other_data_and_end_with_the_same_weights(tmp_path: Path) -> None:
    parallel.launch(2, partial(train, tmp_path))
    first, second = (load_file(str(tmp_path / f"{rank}.safetensors")) for rank in (0, 1))
    torch.testing.assert_close(first["weight"], second["weight"], rtol=0, atol=0)
    assert first["first"] != second["first"]
    assert first["loss"] < 0.1


def test_one_process_needs_no_rendezvous(tmp_path: Path) -> None:
    parallel.launch(1, partial(train, tmp_path))
    assert (parallel.rank(), parallel.size()) == (0, 1)
    assert load_file(str(tmp_path / "0.safetensors"))["loss"] < 0.1
