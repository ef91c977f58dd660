"""A model's folder is whole or refused, and says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_checkpoint, tiny_config

from defi_models.checkpoint import FILE, FORWARD, check_replaceable, read_checkpoint
from defi_models.contract import CheckpointError, ConfigError
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


@pytest.mark.parametrize("held", [["thesis.tex"], [f"{n}.txt" for n in range(9)], [".git"]])
def test_a_folder_that_is_no_checkpoint_is_never_replaced(tmp_path: Path, held: list[str]) -> None:
    """`--out ~` once moved a home folder away and deleted it."""
    for name in held:
        (tmp_path / "home" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds \[.*and no checkpoint\.json, expected a new folder") as refused:
        tiny_checkpoint(tmp_path / "home")
    assert held[0] in str(refused.value) and len(str(refused.value)) < 400
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == sorted(held)


def test_an_empty_folder_and_a_link_to_a_checkpoint_are_filled_in_place(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    tiny_checkpoint(tmp_path / "empty")
    assert read_checkpoint(tmp_path / "empty").name == "tiny"
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    after = tiny_checkpoint(tmp_path / "link", seed=1).fingerprint
    assert (tmp_path / "link").is_symlink()
    assert read_checkpoint(folder).fingerprint == after


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "got a file, expected a folder"),
        ("file/below/it", "got a place below .*file, expected one below a folder that can be written"),
        (".", "got the folder you are in, expected another"),
        ("..", "got the folder you are in, expected another"),
    ],
)
def test_a_place_that_no_folder_can_take_is_refused_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("file").write_text("a file")
    with pytest.raises(ConfigError, match=message):
        check_replaceable(Path(out))
    assert Path("file").read_text() == "a file"


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
