"""A model's numbers make a model, or are refused by name, whether they come from a command line or from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_base_config, tiny_checkpoint, tiny_config

from defi_models.checkpoint import FILE, read_checkpoint
from defi_models.config import DefiConfig
from defi_models.contract import CheckpointError, ConfigError
from defi_models.kinds import with_fields
from defi_models.training.presets import PRESETS, preset, with_changes


def changed(config: DefiConfig, *changes: str) -> DefiConfig:
    return with_fields(config, [(name, value) for name, _, value in (change.partition("=") for change in changes)])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model(name: str) -> None:
    assert preset(name).model(()).chunk_steps > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("chunk_steps=0", "got chunk_steps 0, expected 1 or more"),
        ("chunk_steps=-3", "got chunk_steps -3, expected 1 or more"),
        ("step_ns=0", "got step_ns 0, expected 1 or more"),
        ("gfdm.image_size=0", "got gfdm.image_size 0, expected 1 or more"),
        ("gfdm.image_size=-96", "got gfdm.image_size -96, expected 1 or more"),
        ("decoder.sampling_steps=0", "got decoder.sampling_steps 0, expected 1 or more"),
        ("decoder.sigma_min=0", "got decoder.sigma_min 0.0, expected more than 0"),
        ("decoder.sigma_min=nan", "decoder.sigma_min: got 'nan', expected a finite number"),
        ("decoder.sigma_min=90", "got decoder.sigma_min 90, expected at most sigma_max, 80"),
        ("decoder.dropout=1.5", "got decoder.dropout 1.5, expected 0..1"),
        ("gidm.queries=0", "got gidm.queries 0, expected 1 or more"),
        ("gidm.heads=3", "got gidm.heads 3, expected numbers that divide the width 16"),
        ("gfdm.heads=5", "got gfdm.heads 5, expected numbers that divide the width 16"),
        ("text.heads=5", "got text.heads 5, expected numbers that divide the width 16"),
        ("decoder.heads=5", "got decoder.heads 5, expected numbers that divide the width 16"),
        ("gfdm.feature_blocks=1,3", r"got gfdm.feature_blocks \[1, 3\], expected ascending numbers in 1..2, the depth"),
        ("gfdm.feature_blocks=2,1", r"got gfdm.feature_blocks \[2, 1\], expected ascending"),
        ("gfdm.feature_blocks=0,1", r"got gfdm.feature_blocks \(0, 1\), expected 1 or more"),
        ("autoencoder.channels=8,0", r"got autoencoder.channels \(8, 0\), expected 1 or more"),
        ("cameras=", r"got cameras \[''\], expected names, each once"),
        ("cameras=static,static", r"got cameras \['static', 'static'\], expected names, each once"),
        ("gidm.dino=5", "gidm.dino: got '5', expected the parts of a DinoConfig or none"),
        ("gidm.dino.width=5", "got 'gidm.dino.width', expected no part of it: it is absent"),
        ("gfdm=none", "gfdm: got 'none', expected the parts of a GfdmConfig or the parts of a SvdConfig"),
        ("horizon_steps=1.5", "horizon_steps: got '1.5', expected a whole number or none"),
        ("chunk_steps=1e3", "chunk_steps: got '1e3', expected a whole number"),
        ("decoder.causal_context=1", "decoder.causal_context: got '1', expected true or false"),
    ],
)
def test_a_number_that_makes_no_model_is_refused_by_name(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(tiny_config(), change)


def test_heads_of_the_published_parts_divide_their_widths_too() -> None:
    with pytest.raises(
        ConfigError, match=r"got gfdm.heads \(2, 2, 4, 5\), expected numbers that divide the width \(32"
    ):
        changed(tiny_base_config(), "gfdm.heads=2,2,4,5")
    with pytest.raises(ConfigError, match=r"got text.t5_heads 3, expected numbers that divide the width 16"):
        changed(tiny_base_config(), "text.t5_heads=3")
    with pytest.raises(ConfigError, match=r"gfdm.heads: got '2,2', expected a list of 4, each a whole number"):
        changed(tiny_base_config(), "gfdm.heads=2,2")


def test_a_field_that_is_absent_takes_its_own_kind_and_none_takes_it_away() -> None:
    """Whatever was absent was read as a whole number, and could not become absent again."""
    assert changed(tiny_config(), "decoder.initial_std=0.02").decoder.initial_std == 0.02
    assert changed(tiny_config(), "horizon_steps=3").horizon_steps == 3
    assert changed(tiny_config(), "horizon_steps=3", "horizon_steps=none").horizon_steps is None
    assert changed(tiny_base_config(), "gidm.dino=none", "decoder.initial_std=none").gidm.dino is None
    assert changed(preset("nano").model(()), "text.words=open,close").text.words == ("open", "close")  # type: ignore[union-attr]


def test_changes_that_agree_only_together_are_made_together() -> None:
    """Each was checked before the next one was read, so that their order decided."""
    for changes in (["gidm.width=18", "gidm.heads=3"], ["gidm.heads=3", "gidm.width=18"]):
        assert changed(tiny_config(), *changes).gidm.width == 18
    backwards = with_changes(preset("test"), ["action_width=8", "action_encoding=joint_positions"])
    assert backwards.model(()).action_width == 8


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("config.chunk_steps", "ten", "chunk_steps: got 'ten', expected a whole number"),
        ("config.chunk_steps", True, "chunk_steps: got True, expected a whole number"),
        ("config.gfdm.width", "wide", "gfdm.width: got 'wide', expected a whole number"),
        ("config.gfdm.sigma_max", [1], r"gfdm.sigma_max: got \[1\], expected a finite number"),
        ("config.gfdm.feature_blocks", 2, "gfdm.feature_blocks: got 2, expected a list, each a whole number"),
        ("config.gfdm.feature_blocks", [1, "2"], "gfdm.feature_blocks: got '2', expected a whole number"),
        ("config.gfdm", None, "gfdm: got None, expected an object"),
        ("config.gidm.dino", 5, "gidm.dino: got 5, expected an object, DinoConfig"),
        ("config.text.words", [1], "text.words: got 1, expected a text"),
        ("config.action_encoding", "jump", r"action_encoding: got 'jump', expected one of \['relative_pose'"),
        ("config.chunk_steps", 0, "got chunk_steps 0, expected 1 or more"),
        ("config", [], r"DefiConfig: got \[\], expected an object"),
        ("statistics", [1, 2], r"statistics: got \[1, 2\], expected an object with \['action_scale'"),
        ("statistics.action_scale", ["a"] * 7, "statistics: got action_scale = .*, expected 7 numbers above 0"),
        ("statistics.proprioception_std", [0.0] * 10, "proprioception_std = .*, expected 10 numbers above 0"),
        ("statistics.proprioception_mean", ["a"] * 10, "proprioception_mean = .*, expected 10 finite numbers"),
        ("hashes", [], r"hashes: got \[\], expected an object"),
        ("hashes", {"forward.safetensors": 5}, r"hashes of forward\.safetensors: got 5, expected a text"),
        ("provenance", "me", "provenance: got 'me', expected an object"),
        ("name", 7, "name: got 7, expected a text"),
    ],
)
def test_a_description_of_another_kind_is_one_message(tmp_path: Path, place: str, value: Any, said: str) -> None:
    """Each of these was a traceback, some of them only on the robot."""
    folder = tiny_checkpoint(tmp_path / "policy").folder
    data = json.loads((folder / FILE).read_text())
    inner, keys = data, place.split(".")
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / FILE).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=said) as refused:
        read_checkpoint(folder)
    assert str(folder) in str(refused.value)
