"""What a command line promises to write, and numbers that make no sense."""

import argparse
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from defi_models.checkpoint import check_replaceable
from defi_models.cli import main
from defi_models.contract import ConfigError
from defi_models.files import check_folder, check_place, write_json, write_text
from defi_models.options import check_at_least

NOBODY = 65534


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.json"
    check_place("--json", path)
    assert not (tmp_path / "a").exists()  # the check leaves nothing
    write_json(path, {"one": 1})
    assert path.read_text() == '{\n "one": 1\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]
    write_json(None, {"one": 1})


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """Two hundred chains were run before a folder that was not there lost their score."""
    write_text(tmp_path / "file", "")
    with pytest.raises(ConfigError, match=r"--json: got .*x\.json, expected a file in a folder that can be written"):
        check_place("--json", tmp_path / "file" / "x.json")
    with pytest.raises(ConfigError, match="which is a folder, expected a file to write"):
        check_place("--json", tmp_path)
    check_place("--json", None)


COMMANDS = (
    ["eval", "chains", "--policy", "scripted"],
    ["eval", "tasks", "--policy", "scripted"],
    ["eval", "metaworld", "--policy", "expert", "--episodes", "1"],
    ["eval", "calvin", "--policy", "scripted", "--dataset", "none"],
    ["eval", "simpler", "--policy", "scripted"],
    ["inspect", "nano"],
    ["export", "nano"],
)


def test_a_place_below_a_folder_that_may_not_be_entered_is_refused(tmp_path: Path) -> None:
    """It was a traceback of `Path.exists`."""
    (tmp_path / "closed").mkdir(mode=0)
    place = tmp_path / "closed" / "inside" / "there"
    child = os.fork()
    if not child:  # root may enter every folder
        refused = 0
        try:
            if not os.geteuid():
                os.setuid(NOBODY)
            for check in (partial(check_place, "--json"), partial(check_folder, "--out"), check_replaceable):
                with suppress(ConfigError):
                    check(place)
                    break
                refused += 1
        finally:
            os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_every_command_that_reports_refuses_a_folder_as_its_report(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json", str(tmp_path)]) == 2
    assert "which is a folder" in capsys.readouterr().err


def test_numbers_too_small_are_refused_by_the_name_of_their_option() -> None:
    args = argparse.Namespace(clips_per_shard=0, jobs=2, horizon=None)
    check_at_least(1, args, "jobs", "horizon")
    with pytest.raises(ConfigError, match="--clips-per-shard: got 0, expected at least 1"):
        check_at_least(1, args, "jobs", "clips_per_shard")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["eval", "tasks", "--policy", "scripted", "--jobs", "0"], "--jobs: got 0"),
        (
            ["eval", "tasks", "--policy", "scripted", "--timeout-s", "0"],
            "--timeout-s: got 0.0, expected a time of more than 0",
        ),
        (["eval", "metaworld", "--policy", "expert", "--jobs", "0"], "--jobs: got 0"),
        (["eval", "calvin", "--policy", "scripted", "--dataset", "none", "--chains", "0"], "--chains: got 0"),
        (["eval", "simpler", "--policy", "scripted", "--horizon", "-1"], "--horizon: got -1"),
        (["data", "sim", "--out", "none", "--seed", "-1"], "--seed: got -1, expected at least 0"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_numbers_that_make_no_sense_are_refused_in_one_line(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
