"""`defi imagine` writes a video of the imagined future, or says what was wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import tiny_checkpoint

from defi_models.cli import main


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
