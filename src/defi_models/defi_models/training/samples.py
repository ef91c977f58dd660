"""What stages read of the data: images, words, and latents and features computed once a run."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from defi_models.datasets.blocks import Rows
from defi_models.datasets.frames import Frames
from defi_models.datasets.latents import fingerprint
from defi_models.models.defi import ForwardHalf
from defi_models.models.gfdm import Gfdm
from defi_models.training import parallel
from defi_models.training.run import Run
from defi_models.training.state import TrainingError

ENCODE_BATCH = 128
REPORT_EVERY_BATCHES = 20


def images_of(frames: Frames, rows: np.ndarray, cameras: np.ndarray) -> Tensor:
    """Images of `rows` through `cameras`, float (N, 3, size, size) in -1..1."""
    pixels = np.ascontiguousarray(frames.pixels[rows, cameras].transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels).float() / 127.5 - 1.0


def choose_words(run: Run, samples: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Token ids of a fitting sentence for each sample."""
    said = [run.frames.choose_instruction(int(sample), rng) for sample in samples]
    return torch.from_numpy(run.tokenizer(said))


def latents_of(run: Run, gfdm: Gfdm) -> Rows | np.ndarray:
    """Latents of every frame, float16 (N, cameras, C, h, w): as given, or computed once a run.

    Raises:
        TrainingError: those given were made by another autoencoder.
    """
    frames = run.frames
    if frames.encoded is not None:
        own = fingerprint(gfdm.autoencoder.state_dict())
        if frames.encoded.autoencoder != own:
            raise TrainingError(
                f"{frames.folder}: got latents of autoencoder {frames.encoded.autoencoder}, expected {own}, that of "
                f"{run.out}; make them with `defi data encode --model {run.out}`"
            )
        return frames.encoded.latents
    autoencoder = gfdm.autoencoder.to(parallel.device())

    def fill(latents: np.ndarray, wanted: range) -> None:
        for start in wanted[::ENCODE_BATCH]:
            rows = np.arange(start, min(start + ENCODE_BATCH, wanted.stop))
            for camera in range(latents.shape[1]):
                seen = rows[frames.views_of(rows) > camera]
                images = images_of(frames, seen, np.full(len(seen), camera)).to(parallel.device())
                latents[seen, camera] = autoencoder.encode(images).cpu().numpy()

    shape = (len(frames), frames.most_views, *gfdm.latent_shape)
    made_of = f"{fingerprint(autoencoder.state_dict())} {frames.identity}"
    return run.cached(f"latents{frames.key}.npy", shape, made_of, fill)


def features_of(run: Run, forward: ForwardHalf, windows: np.ndarray, tokens: Tensor) -> np.ndarray:
    """GFDM features of `windows`, float16 (N, cameras, frames, tokens, width); the GFDM does not change after this."""
    latents = latents_of(run, forward.gfdm)
    cameras = np.arange(len(run.config.cameras))
    forward = forward.to(parallel.device())

    def fill(features: np.ndarray, wanted: range) -> None:
        for number, start in enumerate(wanted[::ENCODE_BATCH]):
            some = slice(start, min(start + ENCODE_BATCH, wanted.stop))
            present = (
                torch.from_numpy(np.asarray(latents[windows[some][:, None], cameras])).to(parallel.device()).float()
            )
            words, mask = forward.gfdm.text(tokens[some].to(parallel.device()))[:2]
            features[some] = forward.from_latents(present, words, mask).cpu().numpy()
            if number % REPORT_EVERY_BATCHES == 0:
                run.progress(f"features {start - wanted.start}/{len(wanted)}")

    shape = (len(windows), *forward.feature_shape)
    asked = hashlib.sha256(windows.tobytes() + tokens.numpy().tobytes()).hexdigest()[:16]
    made_of = f"{fingerprint(forward.state_dict())} {asked} {run.frames.identity}"
    return run.cached(f"features{run.frames.key}.npy", shape, made_of, fill)
