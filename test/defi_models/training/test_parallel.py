"""Processes that train together keep one model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import train_line

from defi_models.training import parallel


@pytest.mark.slow
def test_two_processes_draw_other_data_and_end_with_the_same_weights(tmp_path: Path) -> None:
    parallel.launch(2, partial(train_line, tmp_path))
    first, second = (load_file(str(tmp_path / f"{rank}.safetensors")) for rank in (0, 1))
    torch.testing.assert_close(first["weight"], second["weight"], rtol=0, atol=0)
    assert first["first"] != second["first"]
    assert first["loss"] < 0.1


def test_one_process_needs_no_rendezvous(tmp_path: Path) -> None:
    parallel.launch(1, partial(train_line, tmp_path))
    assert (parallel.rank(), parallel.size()) == (0, 1)
    assert load_file(str(tmp_path / "0.safetensors"))["loss"] < 0.1
