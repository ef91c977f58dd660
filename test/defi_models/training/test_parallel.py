"""Processes that train together keep one model."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from sharded import train_stages, work_together
from tiny import tiny_episodes, train_line

from defi_models.cli import main
from defi_models.contract import ConfigError
from defi_models.training import parallel
from defi_models.training.loop import TrainingError, check_shares, fit
from defi_models.training.presets import STAGES, Schedule
from defi_models.training.step import Step, share


def trained(folder: Path, **options) -> dict[str, torch.Tensor]:
    folder.mkdir()
    parallel.launch(1, partial(train_line, folder, **options))
    return load_file(str(folder / "0.safetensors"))


@pytest.mark.slow
@pytest.mark.timeout(600)  # starting processes is slow on a busy machine
def test_two_processes_get_what_one_gets_with_copies_of_a_model_and_with_parts_of_it_also_after_a_kill(
    tmp_path: Path,
) -> None:
    alone = trained(tmp_path / "alone")
    assert alone["loss"] < 0.2
    data, one, two = tiny_episodes(tmp_path / "data"), tmp_path / "one", tmp_path / "two"
    train_stages(one, data, STAGES)
    for folder in (two, tmp_path / "copies", tmp_path / "parts"):
        folder.mkdir()
    (two / "autoencoder.safetensors").write_bytes((one / "autoencoder.safetensors").read_bytes())  # too small to spread
    work = partial(work_together, tmp_path / "copies", tmp_path / "parts", two, data, ("gfdm", "policy"))
    parallel.launch(2, work)
    for folder in ("copies", "parts"):
        for rank in (0, 1):
            got = load_file(str(tmp_path / folder / f"{rank}.safetensors"))
            torch.testing.assert_close(got | {"first": alone["first"]}, alone)
    for stage in ("gfdm", "gidm", "policy"):  # gidm with copies: it refuses to be spread
        weights, expected = (load_file(str(run / f"{stage}.safetensors")) for run in (two, one))
        torch.testing.assert_close(weights, expected, atol=2e-4, rtol=1e-3)


def test_accumulated_passes_get_the_weights_and_the_loss_of_one(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone")
    for passes in (2, 3):  # 8 samples are not a multiple of 3
        parts = trained(tmp_path / f"{passes}", accumulate=passes)
        torch.testing.assert_close(parts | {"first": alone["first"]}, alone)


def test_dead_codes_are_moved_alike_however_many_passes_share_a_batch(tmp_path: Path) -> None:
    """They were moved onto what the last pass alone found, by a generator that depended on the number of passes."""
    data = tiny_episodes(tmp_path / "data")
    runs = {passes: tmp_path / str(passes) for passes in (1, 2, 3)}
    train_stages(runs[1], data, ["autoencoder"])
    for passes, run in runs.items():
        run.mkdir(exist_ok=True)
        (run / "autoencoder.safetensors").write_bytes((runs[1] / "autoencoder.safetensors").read_bytes())
        train_stages(run, data, ["gidm"], accumulate=passes)
    alone, *others = (load_file(str(run / "gidm.safetensors")) for run in runs.values())
    for weights in others:
        torch.testing.assert_close(weights, alone, atol=2e-4, rtol=1e-3)
    figures = [json.loads((run / "gidm.figures.json").read_text()) for run in runs.values()]
    assert len({one["codes_used"] for one in figures}) == 1


def test_shares_are_all_of_a_batch_and_differ_by_one_sample_at_most() -> None:
    for batch, parts in ((8, 3), (7, 7), (48, 5)):
        shares = [share(batch, part, parts) for part in range(parts)]
        assert [n for s in shares for n in range(s.start, s.stop)] == list(range(batch))
        assert {s.stop - s.start for s in shares} <= {batch // parts, batch // parts + 1}


def test_a_batch_too_small_to_share_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        TrainingError, match=r"got 2 samples for 1 processes x 4 accumulated passes, expected at least 4"
    ):
        check_shares(Schedule(steps=1, batch=2, learning_rate=1.0, accumulate=4))


def test_half_precision_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("has CUDA")
    with pytest.raises(ConfigError, match="'fp16' without CUDA"):
        parallel.engine("fp16")


def test_half_precision_passes_keep_whole_weights(tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision; this one had another
    module = torch.nn.Linear(4, 1)
    seen: list[torch.dtype] = []

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        found = module(step.normal(4))
        seen.append(found.dtype)
        return found.float().square().mean(), {}

    figures = fit(module, loss, Schedule(20, 8, 0.05), tmp_path / "run", seed=0, precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert math.isfinite(figures["loss"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_process_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was torch's traceback of a process within a process."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    command = ["train", "gfdm", "--preset", "test", "--data", str(data), "--out", str(out), "--processes", "2"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "autoencoder.safetensors is missing: run `defi train autoencoder`" in told
    assert "Traceback" not in told


def test_one_process_needs_no_rendezvous(tmp_path: Path) -> None:
    parallel.launch(1, partial(train_line, tmp_path))
    assert (parallel.rank(), parallel.size()) == (0, 1)
    assert load_file(str(tmp_path / "0.safetensors"))["loss"] < 0.2


def never_ends(folder: Path) -> None:
    (folder / str(parallel.rank())).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_process_goes_on_when_the_first_is_told_to_end(tmp_path: Path) -> None:
    """They trained on, and wrote over what the next run made."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    code += "from functools import partial; from pathlib import Path; from test_parallel import never_ends, parallel\n"
    code += f"if __name__ == '__main__': parallel.launch(2, partial(never_ends, Path({str(tmp_path)!r})))"
    (tmp_path / "main.py").write_text(code)
    launcher = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], stderr=subprocess.DEVNULL)
    while not all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"):
        assert launcher.poll() is None
        time.sleep(0.1)
    members = [psutil.Process(int((tmp_path / rank).read_text())) for rank in "01"]
    launcher.terminate()
    launcher.wait(30)
    assert not psutil.wait_procs(members, timeout=10)[1]
