"""`defi imagine` writes a video of the imagined future, or says what was wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import tiny_checkpoint

from defi_models.cli import main
from defi_models.inference.command import write_video


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, str]:
    cv2.imwrite(str(tmp_path / "now.png"), np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    policy = tiny_checkpoint(tmp_path / "policy").folder
    return {
        "--image": str(tmp_path / "now.png"),
        "--task": "open the drawer",
        "--out": str(tmp_path / "future.mp4"),
        "--policy": str(policy),
        "--steps": "3",
    }


def run(arguments: dict[str, str], **changes: str) -> int:
    pairs = {**arguments, **{f"--{k}": v for k, v in changes.items()}}
    return main(["imagine", *[part for pair in pairs.items() for part in pair]])


def test_video_has_every_imagined_frame_for_its_time(arguments: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    assert run(arguments) == 0
    video = cv2.VideoCapture(arguments["--out"])
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3 * 2  # 3 frames, 2 steps of 0.1 s each, at 10 Hz
    assert "3 frames, 0.2 s apart" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "nowhere.png"}, "--image: got nowhere.png, expected an image file that exists"),
        ({"task": "  "}, "expected at least one word"),
        ({"task": "one two three four five six seven"}, "got 7 words"),
        (
            {"task": "juggle three oranges"},
            "got 'juggle three oranges', of which the model knows no word, expected some of",
        ),
        ({"seed": str(1 << 80)}, "--seed: got 1208925819614629174706176, expected 0.."),
        ({"seed": "-1"}, "--seed: got -1, expected 0.."),
        ({"steps": "0"}, "--steps: got 0, expected 1 or more"),
        ({"policy": "nona"}, "no policy 'nona'"),
        ({"device": "cuda:9"}, "--device: got 'cuda:9', expected one of ['cpu'"),
        ({"out": "future.avi"}, "--out: got future.avi, expected a file with the ending .mp4"),
    ],
)
def test_wrong_input_gets_one_message_and_no_file(
    arguments: dict[str, str], changes: dict[str, str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert run(arguments, **changes) == 2
    assert message in capsys.readouterr().err
    assert not Path(arguments["--out"]).exists()


def test_words_the_model_does_not_know_are_told(arguments: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    """They all look alike to it, and a video of something else came out without a word."""
    assert run(arguments, task="open the purple drawer, purple!") == 0
    assert "--task: tiny does not know 'purple'\n" in capsys.readouterr().err


def test_a_video_that_is_broken_off_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    place = tmp_path / "future.mp4"
    write_video(place, np.zeros((2, 8, 8, 3), np.uint8), 0.1)
    before = place.read_bytes()
    with pytest.raises(cv2.error):
        write_video(place, np.zeros((2, 0, 0, 3), np.uint8), 0.1)
    assert place.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["future.mp4"]
