"""A model's folder is whole or refused, and says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_checkpoint, tiny_config

from defi_models.checkpoint import FILE, FORWARD, read_checkpoint
from defi_models.contract import CheckpointError
from defi_models.inference.load import load_policy, read_spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "policy").folder


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / FILE).read_text())
    for key, value in changes.items():
        if value is None:
            data.pop(key)
        else:
            data[key] = value
    (folder / FILE).write_text(json.dumps(data))


def test_what_was_written_is_read_back(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == tiny_config()
    assert checkpoint.spec().chunk_steps == 5
    assert [p.name for p in folder.parent.glob(".*")] == []


def test_writing_again_replaces_the_folder_whole(folder: Path) -> None:
    before = read_checkpoint(folder).fingerprint
    after = tiny_checkpoint(folder, seed=1).fingerprint
    assert before != after
    assert read_checkpoint(folder).fingerprint == after


def test_unknown_policy_lists_what_is_shipped() -> None:
    with pytest.raises(CheckpointError, match=r"no policy 'nanoo'.*Shipped: \[.*'scripted'\]"):
        read_spec("nanoo")


def test_folder_without_description_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint\.json"):
        read_checkpoint(tmp_path)


def test_half_written_description_is_refused(folder: Path) -> None:
    (folder / FILE).write_text((folder / FILE).read_text()[:100])
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_checkpoint(folder)


def test_other_format_is_refused_with_both_numbers(folder: Path) -> None:
    edit(folder, format=99)
    with pytest.raises(CheckpointError, match="got format 99, expected 1"):
        read_checkpoint(folder)


def test_missing_statistics_are_an_error(folder: Path) -> None:
    edit(folder, statistics=None)
    with pytest.raises(CheckpointError, match="no normalisation statistics"):
        read_spec(str(folder))


def test_misspelt_configuration_key_is_named(folder: Path) -> None:
    data = json.loads((folder / FILE).read_text())
    data["config"]["gfdm"]["widht"] = data["config"]["gfdm"].pop("width")
    (folder / FILE).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"unknown keys \['widht'\] and misses \['width'\]"):
        read_checkpoint(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / FORWARD
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_policy(str(folder))


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / FORWARD).unlink()
    with pytest.raises(CheckpointError, match=r"forward\.safetensors is missing; it has"):
        load_policy(str(folder), half="imagine")


def test_unknown_backend_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no inference backend 'jax'; there is \['torch', 'compiled', 'onnx'\]"):
        load_policy(str(folder), backend="jax")


def test_reading_a_spec_does_not_import_torch(folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from defi_models.inference.load import read_spec; "
        f"read_spec({str(folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
