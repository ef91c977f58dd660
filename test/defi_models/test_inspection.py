"""What `defi inspect` computes, held against what was counted on the paper's own modules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_checkpoint
from torch.utils.flop_counter import FlopCounterMode

from defi_models.cli import main
from defi_models.experiment.paper import GIGAFLOP, PARAMETERS_M, REMARKS, TOGETHER
from defi_models.inspection import describe
from defi_models.inventory import WORDS_COUNTED, on_meta
from defi_models.models.gidm import Gidm
from defi_models.training.presets import preset

T5_GIGAFLOP, DENOISER_STEP_GIGAFLOP, GIDM_GIGAFLOP = 2.4, 4.03, 130.3


@pytest.fixture(scope="module")
def base() -> dict:
    pytest.importorskip("diffusers", reason="the extra `base` is not installed: requirements/base.txt")
    report = describe("base")
    return {**report, "parts": {part["name"]: part for part in report["parts"]}}


@pytest.mark.parametrize("name", PARAMETERS_M)
def test_base_has_the_papers_parameters(base: dict, name: str) -> None:
    parts = [base["parts"][part]["parameters"] for part in TOGETHER.get(name, (name,))]
    assert sum(parts) / 1e6 == pytest.approx(PARAMETERS_M[name], rel=0.01)


def test_base_holds_the_whole_unet_and_the_whole_denoiser(base: dict) -> None:
    parts = base["parts"]
    unet = [name for name in parts if name.startswith("GFDM backbone")]
    assert sum(parts[name]["parameters"] for name in unet) / 1e6 == pytest.approx(1524.6, rel=0.01)
    denoiser = [name for name in parts if name.startswith("denoiser")]
    used = 22.90 - 1.08  # the rest is frozen and unused in the paper's code
    assert sum(parts[name]["parameters"] for name in denoiser) / 1e6 == pytest.approx(used, rel=0.01)


@pytest.mark.parametrize("name", sorted(GIGAFLOP.keys() - REMARKS.keys()))
def test_base_costs_the_papers_operations(base: dict, name: str) -> None:
    assert base["parts"][name]["gigaflop"] == pytest.approx(GIGAFLOP[name], rel=0.05)


def test_base_reads_with_t5_at_the_papers_cost(base: dict) -> None:
    both, clip = (base["parts"][name]["gigaflop"] for name in ("inverse text encoders", "GFDM text encoder"))
    assert both - clip == pytest.approx(T5_GIGAFLOP, rel=0.05)


def test_the_gidm_costs_what_the_paper_does_except_for_what_nobody_reads_of_its_last_block(base: dict) -> None:
    """The paper's figure is of a last block that computes every token; the codes are read of its queries alone."""
    config = preset("base").model(())
    with on_meta(), FlopCounterMode(display=False) as counter, torch.no_grad():
        frames, words = torch.empty(1, 2, 256, config.gidm.width), torch.empty(1, WORDS_COUNTED, 768)
        mask = torch.empty(1, WORDS_COUNTED, dtype=torch.bool)
        Gidm(config.gidm, 768).eval().encode(frames, words, mask, with_words=True)
    whole = counter.get_total_flops() / 1e9
    assert whole == pytest.approx(GIDM_GIGAFLOP, rel=0.05)
    assert whole * (1 - 1 / config.gidm.depth) < base["parts"]["GIDM"]["gigaflop"] < whole


def test_denoising_costs_what_the_paper_does_except_that_the_context_is_read_once(base: dict) -> None:
    """The paper's figure is of a step that reads the context anew, by a counter that overlooked its fused attention."""
    read, steps = base["parts"]["denoiser, its context"], base["parts"]["denoiser, 10 steps"]
    layers = [part["gigaflop"] - part["attention_gigaflop"] for part in (read, steps)]
    assert layers[0] + layers[1] / 10 == pytest.approx(DENOISER_STEP_GIGAFLOP, rel=0.05)
    assert read["gigaflop"] + steps["gigaflop"] < 10.45, "the paper's code with its encoder cached"


def test_a_chunk_of_base_costs_no_more_than_the_papers(base: dict) -> None:
    assert 0.95 * 6560 < base["gigaflop_a_chunk"] <= 6560


def test_each_node_loads_its_own_half_and_nothing_of_video_or_pretraining(base: dict) -> None:
    parts = base["parts"].values()
    for node, file in (("imagination_node", "forward.safetensors"), ("action_node", "inverse.safetensors")):
        own = [part for part in parts if part["node"] == node]
        assert {part["file"] for part in own} == {file}
        assert {part["once"] for part in own} <= {"a chunk", "an instruction"}
        assert base["loaded_parameters"][node] == sum(part["parameters"] for part in own)
    assert {part["once"] for part in parts if part["node"] == "no node"} == {"a video", "pretraining"}


def test_a_checkpoint_is_described_with_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_checkpoint(tmp_path / "policy").folder
    assert main(["inspect", str(folder), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(file["file"], file["loaded_by"]) for file in report["files"]] == [
        ("forward.safetensors", "imagination_node"),
        ("inverse.safetensors", "action_node"),
    ]
    shown = capsys.readouterr().out
    assert "video former" in shown
    assert "forward.safetensors" in shown


def test_a_damaged_checkpoint_is_not_described(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "policy").folder
    with (folder / "inverse.safetensors").open("ab") as file:
        file.write(b"x")
    assert main(["inspect", str(folder)]) == 2


def test_an_unknown_model_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "bse"]) == 2
    assert "Did you mean 'base'?" in capsys.readouterr().err
