"""`defi imagine`: shows the future the GFDM expects, as a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from defi_models.checkpoint import FORWARD, VIDEO
from defi_models.contract import NS_PER_S, ConfigError
from defi_models.files import check_place
from defi_models.inference.load import check_device, resolve
from defi_models.transforms import ImageTransform
from defi_models.words import check_known

SHOWN_PX = 384
RATE_HZ = 10
SEEDS = 1 << 63  # torch takes more, some of them twice


class Imagine:
    """Imagines a video."""

    help = "imagine the future of an image as a video"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--image", type=Path, required=True, help="what a camera sees now (PNG or JPEG)")
        parser.add_argument("--task", required=True, help="what shall happen, in words")
        parser.add_argument("--out", type=Path, required=True, help="the video to write (.mp4)")
        parser.add_argument("--policy", default="nano", help="a shipped policy or a checkpoint folder")
        parser.add_argument("--steps", type=int, default=30, help="denoising steps")
        parser.add_argument("--seed", type=int, default=0, help="of the noise")
        parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; the noise is the same on each")

    def run(self, args: argparse.Namespace) -> int:
        """Writes the video.

        Raises:
            ConfigError: the image cannot be read, the video cannot be written, or a number is out of range.
            CheckpointError: there is no such policy.
            ContractError: the instruction is empty or too long, or the model knows no word of it.
        """
        if args.steps < 1:
            raise ConfigError(f"--steps: got {args.steps}, expected 1 or more")
        if not 0 <= args.seed < SEEDS:
            raise ConfigError(f"--seed: got {args.seed}, expected 0..{SEEDS - 1}")
        check_video(args.out)
        image = cv2.imread(str(args.image), cv2.IMREAD_COLOR_RGB) if args.image.is_file() else None
        if image is None:
            raise ConfigError(f"--image: got {args.image}, expected an image file that exists (PNG or JPEG)")
        checkpoint = resolve(args.policy)
        if unknown := check_known(args.task, checkpoint.config.text):
            sys.stderr.write(f"--task: {checkpoint.name} does not know {', '.join(map(repr, unknown))}\n")
        import torch

        from defi_models.inference.torch_engine import load_half
        from defi_models.models.defi import ForwardHalf

        files = [FORWARD, *[name for name in (VIDEO,) if name in checkpoint.hashes]]
        check_device(args.device, "--device")
        device = torch.device(args.device)
        gfdm = load_half(lambda: ForwardHalf(checkpoint.config, video=True), checkpoint, *files).gfdm.to(device)
        with torch.inference_mode():
            pixels = torch.from_numpy(ImageTransform(checkpoint.config.gfdm.image_size).encode(image.astype(np.uint8)))
            words, mask, _ = gfdm.text(torch.from_numpy(checkpoint.tokenizer()([args.task])).to(device))
            noise = torch.Generator().manual_seed(args.seed)
            present = gfdm.autoencoder.encode(pixels[None].to(device))
            clip = gfdm.generate(present, words, mask, args.steps, noise)[0].cpu().numpy()
        step_s = checkpoint.config.gfdm.frame_steps * checkpoint.config.step_ns / NS_PER_S
        write_video(args.out, ImageTransform.decode(clip), step_s)
        sys.stdout.write(f"{args.out}: {len(clip)} frames, {step_s:.1f} s apart, imagined by {checkpoint.name}\n")
        return 0


def check_video(path: Path) -> None:
    """Refuses what no video can be written to, before the work.

    Raises:
        ConfigError: so.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"--out: got {path}, expected a file with the ending .mp4")
    check_place("--out", path)


def write_video(path: Path, frames: npt.NDArray[np.uint8], step_s: float) -> None:
    """Writes uint8 RGB `frames` (T, H, W, 3), each shown for `step_s`, enlarged for people; whole or not at all.

    Raises:
        ConfigError: no video can be written there.
    """
    check_video(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part.mp4")  # OpenCV tells the format by the ending
    try:
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, (SHOWN_PX, SHOWN_PX))
        if not writer.isOpened():
            raise ConfigError(f"--out: got {path}, expected a file that can be written")
        for frame in frames:
            large = cv2.resize(frame, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_CUBIC)
            for _ in range(max(1, round(step_s * RATE_HZ))):
                writer.write(large[..., ::-1])
        writer.release()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
