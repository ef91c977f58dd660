import json
from pathlib import Path

import pytest

from defi_models.bar import bar
from defi_models.cli import main
from defi_models.datasets.command import Progress
from defi_models.datasets.episodes import episode_files, load_episode


@pytest.mark.slow
def test_demonstrations_in_a_row_are_kept_when_the_collection_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture):
    command = ["data", "sim", "--in-a-row", "2", "--tasks", "led", "--jobs", "1", "--out", str(tmp_path)]
    assert main([*command, "--episodes", "2"]) == 0
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert main([*command, "--episodes", "4"]) == 0
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in written} == written
    records = [json.loads((tmp_path / f"play_{seed:06d}.json").read_text()) for seed in range(2)]
    assert [record["segments"][0]["task"] for record in records] == ["turn_on_led", "turn_off_led"]
    won = sum(segment["success"] for record in records for segment in record["segments"])
    episodes = [load_episode(path) for path in episode_files(tmp_path)]
    assert len(episodes) == won
    assert all(episode.success and set(episode.images) == {"static", "wrist"} for episode in episodes)
    assert f"{won} demonstrations" in capsys.readouterr().out


def test_a_row_of_no_demonstrations_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["data", "sim", "--in-a-row", "0", "--out", str(tmp_path)]) == 2
    assert "--in-a-row: got 0, expected at least 1" in capsys.readouterr().err


def test_demonstrations_are_counted_on_a_bar_where_there_is_one_and_in_lines_elsewhere(capsys: pytest.CaptureFixture):
    shown: list[tuple[int, int, str]] = []
    Progress(lambda *told: shown.append(told))(3, 1, 9)
    assert shown == [(4, 9, "1 failed")]
    assert capsys.readouterr().out == ""
    Progress()(8, 1, 9)
    assert "9/9 demonstrations, 1 failed" in capsys.readouterr().out


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    with bar("demonstrations") as shown:
        assert shown is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with bar("demonstrations") as shown:
        assert shown is not None
        shown(3, 4, "1 failed")
    assert "3/4" in capsys.readouterr().out
