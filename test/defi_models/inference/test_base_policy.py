"""The paper's model as a policy: the clauses every policy keeps, what it caches, and what each process loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_policies import PolicyContract
from tiny import tiny_base_config, tiny_checkpoint

from defi_models.checkpoint import Checkpoint
from defi_models.cli import main
from defi_models.contract import CheckpointError, Policy
from defi_models.inference.load import load_policy
from defi_models.words import T5_TOKENIZER

pytest.importorskip("diffusers", reason="the extra `base` is not installed: requirements/base.txt")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return tiny_checkpoint(tmp_path_factory.mktemp("base") / "policy", config=tiny_base_config())


class TestBasePolicy(PolicyContract):
    @pytest.fixture(scope="class")
    def policy(self, checkpoint: Checkpoint) -> Policy:
        return load_policy(str(checkpoint.folder), backend="torch")

    def test_text_is_read_once_an_instruction(self, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        read = []
        for engine in (policy._forward, policy._inverse):  # type: ignore[attr-defined]
            original = engine.words
            monkeypatch.setattr(engine, "words", lambda tokens, o=original: read.append(1) or o(tokens))
        for _ in range(3):
            policy.act(policy.imagine(self.observation(policy)), self.state())
        assert len(read) <= 2, "at most once a half, whatever was read before"

    def test_same_observation_gives_the_same_chunk(self, policy: Policy) -> None:
        """The paper's code draws new noise for every call (defi-model 6.3, 6); here one draw is kept."""
        first, second = (policy.act(policy.imagine(self.observation(policy)), self.state()) for _ in range(2))
        np.testing.assert_array_equal(first.targets, second.targets)

    def test_features_alone_show_no_frames(self, policy: Policy) -> None:
        assert policy.watch(policy.imagine(self.observation(policy))) == {}


@pytest.mark.parametrize(("half", "other"), [("imagine", "act"), ("act", "imagine")])
def test_each_process_opens_its_own_weights_only(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, half: str, other: str
) -> None:
    opened = []
    original = Checkpoint.weights
    monkeypatch.setattr(Checkpoint, "weights", lambda self, file: opened.append(file) or original(self, file))
    load_policy(str(checkpoint.folder), backend="torch", half=half)  # type: ignore[arg-type]
    weights = {"imagine": "forward.safetensors", "act": "inverse.safetensors"}
    assert [file for file in opened if file.endswith(".safetensors")] == [weights[half]]


def test_half_precision_keeps_the_text_encoder_and_stays_close(checkpoint: Checkpoint) -> None:
    """As the paper runs it on a GPU: float16 for autoencoder and UNet, float32 for CLIP (defi-model 6.3, 7)."""
    from defi_models.checkpoint import FORWARD
    from defi_models.inference.torch_engine import load_half
    from defi_models.models.defi import ForwardHalf

    half = load_half(lambda: ForwardHalf(checkpoint.config), checkpoint, FORWARD)
    tokens = torch.from_numpy(checkpoint.tokenizer()(["open the drawer"]))
    images = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        words, mask, _ = half.gfdm.text(tokens)
        full = half(images, words, mask)
        half.gfdm.to_half_precision()
        assert {p.dtype for p in half.gfdm.text.parameters()} == {torch.float32}
        halved = half(images, words, mask)
    assert halved.dtype == torch.float16
    together = torch.stack([halved.float().flatten(), full.flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.97, "norms over the one pixel at the bottom of this UNet amplify"


def test_video_is_imagined_from_the_part_that_policies_leave_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "now.png"), rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    arguments = [
        "--image",
        str(tmp_path / "now.png"),
        "--task",
        "open the drawer",
        "--out",
        str(tmp_path / "future.mp4"),
    ]
    assert main(["imagine", *arguments, "--policy", str(checkpoint.folder), "--steps", "1"]) == 0
    video = cv2.VideoCapture(str(tmp_path / "future.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= checkpoint.config.gfdm.frames


def test_export_says_what_runs_it_instead(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint.folder)]) == 2
    assert "run this policy with `policy.backend: torch`" in capsys.readouterr().err
    assert not (checkpoint.folder / "onnx").exists()


def test_a_damaged_tokenizer_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint.folder, tmp_path / "policy")
    (folder / T5_TOKENIZER).write_text("{}")
    with pytest.raises(CheckpointError, match="the file is damaged or belongs to another checkpoint"):
        load_policy(str(folder), backend="torch", half="act")
