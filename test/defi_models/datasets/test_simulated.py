import json
from pathlib import Path

import pytest

from defi_models.cli import main
from defi_models.datasets.episodes import load_episodes


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
    episodes = list(load_episodes(tmp_path))
    assert len(episodes) == won
    assert all(episode.success and set(episode.images) == {"static", "wrist"} for episode in episodes)
    assert f"{won} demonstrations" in capsys.readouterr().out


def test_a_row_of_no_demonstrations_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["data", "sim", "--in-a-row", "0", "--out", str(tmp_path)]) == 2
    assert "--in-a-row: got 0, expected at least 1" in capsys.readouterr().err
