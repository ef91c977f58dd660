"""What a policy's name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_checkpoint

from defi_models.contract import CheckpointError
from defi_models.inference.load import read_spec, resolve, shipped

pytestmark = pytest.mark.skipif("nano" not in shipped(), reason="no weights of the nano policy: run `defi train all`")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_shipped_name_is_that_policy_whatever_folder_of_its_name_lies_here(here: Path) -> None:
    """A user with a folder `nano`, as a first training run makes it, could start no robot any more."""
    shipped_nano = read_spec("nano")
    (here / "nano").mkdir()
    assert read_spec("nano") == shipped_nano
    tiny_checkpoint(here / "nano")
    assert read_spec("nano") == shipped_nano


@pytest.mark.parametrize("given", ["./nano", "nano/", "{here}/nano"])
def test_a_path_is_the_folder_also_where_it_is_called_like_a_shipped_policy(here: Path, given: str) -> None:
    mine = tiny_checkpoint(here / "nano")
    found = resolve(given.format(here=here))
    assert found.folder.samefile(here / "nano") and found.fingerprint == mine.fingerprint


@pytest.mark.parametrize("given", ["mine", "runs/mine", "~/mine"])
def test_any_other_folder_needs_no_dot(here: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HOME", str(here))
    mine = tiny_checkpoint(here / given.replace("~/", ""))
    assert resolve(given).fingerprint == mine.fingerprint


def test_a_name_that_is_neither_is_refused_with_the_nearest_and_the_way_to_give_a_folder() -> None:
    with pytest.raises(CheckpointError) as refused:
        resolve("nanno")
    assert str(refused.value) == (
        f"no policy 'nanno': it is neither a shipped policy nor a folder. Did you mean 'nano'? "
        f"Shipped: {[*shipped(), 'scripted']}; or give the folder that `defi train policy` wrote, as in run/checkpoint."
    )


def test_a_folder_that_is_not_there_is_not_looked_for_among_the_shipped() -> None:
    with pytest.raises(CheckpointError, match=r"no policy './nano': it is neither a shipped policy nor a folder"):
        resolve("./nano")
