"""The stages in order: autoencoder and GFDM on action-free video, GIDM self-supervised, then the coupled policy.

Each stage reads what the ones before left in the run's folder and leaves `<stage>.safetensors` and its figures.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from defi_models.checkpoint import FORWARD, INVERSE, write_checkpoint
from defi_models.config import DefiConfig
from defi_models.datasets.frames import Frames
from defi_models.models.defi import ForwardHalf, InverseHalf, InverseInputs
from defi_models.models.gidm import GidmPretraining
from defi_models.models.text import TextEncoder, vocabulary
from defi_models.training import parallel
from defi_models.training.loop import Step, TrainingError, fit
from defi_models.training.losses import autoencoder_loss, gfdm_loss, gidm_loss
from defi_models.training.presets import Preset
from defi_models.transforms import Statistics

logger = logging.getLogger(__name__)
ENCODE_BATCH = 128
RESTART_EVERY_STEPS = 100


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        preset: What is trained.
        frames: The data.
        out: Folder of the run.
        seed: Of all randomness.
        arm: The arm the demonstrations are of.
        progress: Told one line at a time.
    """

    preset: Preset
    frames: Frames
    out: Path
    seed: int
    arm: str
    progress: Callable[[str], None]

    @property
    def config(self) -> DefiConfig:
        """The model, with the vocabulary of the data."""
        return self.preset.model(vocabulary(text for texts in self.frames.instructions for text in texts))

    def share(self, stage: str) -> int:
        """Samples of a batch that this process takes."""
        return max(1, self.preset.schedules[stage].batch // parallel.size())

    def load(self, stage: str, module: nn.Module) -> None:
        """Reads what an earlier stage left.

        Raises:
            TrainingError: that stage has not been run.
        """
        path = self.out / f"{stage}.safetensors"
        if not path.is_file():
            raise TrainingError(f"{path} is missing: run `defi train {stage}` with the same --out first")
        module.load_state_dict(load_file(str(path)))

    def save(self, stage: str, module: nn.Module, figures: dict[str, Any]) -> None:
        """Leaves weights and figures for the stages after."""
        if parallel.rank():
            return
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, str(self.out / f"{stage}.safetensors"))
        (self.out / f"{stage}.figures.json").write_text(json.dumps(figures, indent=1))

    def train(self, stage: str, module: nn.Module, loss: Callable[[Step], tuple[Tensor, dict[str, float]]]) -> dict:
        """Runs the loop for one stage and returns its figures."""
        torch.manual_seed(self.seed)
        start = time.monotonic()
        schedule = self.preset.schedules[stage]
        figures = fit(module, loss, schedule, self.out / f"{stage}.resume", seed=self.seed, progress=self.progress)
        return {**figures, "steps": schedule.steps, "batch": schedule.batch, "seconds": round(time.monotonic() - start)}


def images_of(frames: Frames, rows: np.ndarray, cameras: np.ndarray) -> Tensor:
    """Images of `rows` through `cameras`, float (N, 3, size, size) in -1..1."""
    pixels = np.ascontiguousarray(frames.pixels[rows, cameras].transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels).float() / 127.5 - 1.0


def train_autoencoder(run: Run) -> None:
    """Stage 0: frames to latents; their scale is measured at the end."""
    torch.manual_seed(run.seed)
    model = ForwardHalf(run.config).gfdm.autoencoder
    batch = run.share("autoencoder")

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        rows = np.sort(step.rng.integers(len(run.frames), size=batch))
        images = images_of(run.frames, rows, step.rng.integers(len(run.frames.cameras), size=batch))
        return autoencoder_loss(model, images, step.generator)

    figures = run.train("autoencoder", model, loss)
    rng = np.random.default_rng(run.seed)
    rows = np.sort(rng.integers(len(run.frames), size=min(512, len(run.frames))))
    with torch.no_grad():
        latents = model.moments(images_of(run.frames, rows, rng.integers(len(run.frames.cameras), size=len(rows))))[0]
        model.latent_scale.copy_(1.0 / latents.std())
    run.save("autoencoder", model, figures)


def latents_of(run: Run, forward: ForwardHalf) -> np.ndarray:
    """Latents of every frame, float16 (N, cameras, C, h, w), computed once a run."""
    path = run.out / "latents.npy"
    if not path.is_file() and parallel.rank() == 0:
        shape = (len(run.frames), len(run.frames.cameras), *forward.gfdm.latent_shape)
        latents = np.empty(shape, np.float16)
        with torch.inference_mode():
            for start in range(0, len(run.frames), ENCODE_BATCH):
                rows = np.arange(start, min(start + ENCODE_BATCH, len(run.frames)))
                for camera in range(shape[1]):
                    images = images_of(run.frames, rows, np.full(len(rows), camera))
                    latents[rows, camera] = forward.gfdm.autoencoder.encode(images).numpy()
        np.save(path, latents)
    parallel.barrier()
    return np.load(path)


def choose_words(run: Run, text: TextEncoder, samples: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Token ids of a fitting sentence for each sample."""
    return text.tokens([run.frames.choose_instruction(int(sample), rng) for sample in samples])


def train_gfdm(run: Run) -> None:
    """Stage 1: the frames to come, from video and instructions alone; no action is read."""
    torch.manual_seed(run.seed)
    forward = ForwardHalf(run.config)
    run.load("autoencoder", forward.gfdm.autoencoder)
    forward.gfdm.autoencoder.requires_grad_(False)
    latents = latents_of(run, forward)
    batch = run.share("gfdm")
    offsets = np.arange(run.config.gfdm.frames) * run.config.gfdm.frame_steps

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        samples = step.rng.integers(len(run.frames), size=batch)
        cameras = step.rng.integers(len(run.frames.cameras), size=batch)
        clips = torch.from_numpy(latents[run.frames.clip(samples, offsets), cameras[:, None]]).float()
        return gfdm_loss(forward.gfdm, clips, choose_words(run, forward.gfdm.text, samples, step.rng), step.generator)

    run.save("gfdm", forward, run.train("gfdm", forward, loss))


def train_gidm(run: Run) -> None:
    """Stage 2: latent actions between two real frames of the first camera; no action label is read."""
    torch.manual_seed(run.seed)
    config = run.config
    forward = ForwardHalf(config)
    run.load("autoencoder", forward.gfdm.autoencoder)
    latents = latents_of(run, forward)
    inverse = InverseHalf(config, forward.gfdm.feature_width)
    patch_width = config.autoencoder.latent_channels * config.gfdm.patch**2
    pretraining = GidmPretraining(inverse.gidm, patch_width)
    module = nn.ModuleDict({"pretraining": pretraining, "text": inverse.text})
    batch = run.share("gidm")
    offsets = np.array([0, config.goal_frame * config.gfdm.frame_steps])
    usage = torch.zeros(config.gidm.codes)

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        samples = step.rng.integers(len(run.frames), size=batch)
        pairs = torch.from_numpy(latents[run.frames.clip(samples, offsets), 0]).float()
        patches = forward.gfdm.backbone.patches(pairs)
        words, mask = inverse.text(choose_words(run, inverse.text, samples, step.rng))
        value, figures, codes = gidm_loss(pretraining, patches, words, mask)
        usage.add_(torch.bincount(codes.flatten(), minlength=len(usage)))
        figures["codes_used"] = float((usage > 0).sum())
        if step.index % RESTART_EVERY_STEPS == RESTART_EVERY_STEPS - 1:
            if step.index < run.preset.schedules["gidm"].steps * 0.7:
                with torch.no_grad():
                    found = inverse.gidm.encode(pretraining.patch_in(patches), words, mask)[0]
                inverse.gidm.vq.restart_dead(usage, found.flatten(0, 1))
                parallel.same_everywhere(inverse.gidm.vq.codebook.weight.data)
            usage.zero_()
        return value, figures

    figures = run.train("gidm", module, loss)
    run.save("gidm", nn.ModuleDict({"gidm": inverse.gidm, "text": inverse.text}), figures)


def choose_windows(run: Run) -> np.ndarray:
    """The samples whose features the policy stage keeps, sorted."""
    rng = np.random.default_rng(run.seed)
    return np.sort(rng.permutation(len(run.frames))[: run.preset.windows])


def features_of(run: Run, forward: ForwardHalf, windows: np.ndarray, tokens: Tensor) -> np.ndarray:
    """GFDM features of `windows`, float16 (N, cameras, frames, tokens, width), computed once a run."""
    path = run.out / "features.npy"
    latents = latents_of(run, forward)
    if not path.is_file() and parallel.rank() == 0:
        part = path.with_suffix(".part")
        features = np.lib.format.open_memmap(
            part, mode="w+", dtype=np.float16, shape=(len(windows), *forward.feature_shape)
        )
        with torch.inference_mode():
            for start in range(0, len(windows), ENCODE_BATCH):
                some = slice(start, start + ENCODE_BATCH)
                words, mask = forward.gfdm.text(tokens[some])
                features[some] = forward.from_latents(torch.from_numpy(latents[windows[some]]).float(), words, mask)
                if start % (20 * ENCODE_BATCH) == 0:
                    run.progress(f"features {start}/{len(windows)}")
        features.flush()
        part.rename(path)
    parallel.barrier()
    return np.load(path, mmap_mode="r")


def train_policy(run: Run) -> None:
    """Stage 3: GIDM, video former and action denoiser on demonstrations; the GFDM is frozen (defi-model 0)."""
    torch.manual_seed(run.seed)
    config, frames = run.config, run.frames
    forward = ForwardHalf(config)
    run.load("gfdm", forward)
    forward.requires_grad_(False).eval()
    inverse = InverseHalf(config, forward.gfdm.feature_width)
    run.load("gidm", nn.ModuleDict({"gidm": inverse.gidm, "text": inverse.text}))
    windows = choose_windows(run)
    rng = np.random.default_rng(run.seed)
    tokens = choose_words(run, forward.gfdm.text, windows, rng)
    features = features_of(run, forward, windows, tokens)
    raw_actions = np.stack([frames.action(int(w), config.chunk_steps) for w in windows])
    raw_state = np.stack([frames.proprioception(int(w)) for w in windows])
    statistics = Statistics.of(raw_actions, raw_state)
    actions = torch.from_numpy(raw_actions / np.array(statistics.action_scale)).float()
    state = (raw_state - np.array(statistics.proprioception_mean)) / np.array(statistics.proprioception_std)
    proprioception = torch.from_numpy(state.clip(-5, 5)).float()
    held_out = frames.episode[windows] % 20 == 0
    training, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(validation):
        validation = training
    batch = run.share("policy")

    def inputs(rows: np.ndarray) -> InverseInputs:
        return InverseInputs(torch.from_numpy(np.asarray(features[rows])).float(), tokens[rows], proprioception[rows])

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        rows = np.sort(step.rng.choice(training, size=batch))
        return inverse.loss(inputs(rows), actions[rows], step.generator), {}

    figures = run.train("policy", inverse, loss)
    figures |= _validate(inverse, inputs, actions, statistics, validation[:: max(1, len(validation) // 512)])
    run.progress(f"held-out episodes: {figures}")
    run.save("policy", inverse, figures)
    if parallel.rank() == 0:
        _assemble(run, statistics)


def _validate(
    inverse: InverseHalf,
    inputs: Callable[[np.ndarray], InverseInputs],
    actions: Tensor,
    statistics: Statistics,
    rows: np.ndarray,
) -> dict[str, float]:
    noise = torch.randn(len(rows), *actions.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = torch.cat(
            [
                inverse(inputs(r), n)
                for r, n in zip(np.array_split(rows, 8), noise.tensor_split(8), strict=True)
                if len(r)
            ]
        )
    error = (found - actions[rows]).abs().mean((0, 1)).numpy() * np.array(statistics.action_scale)
    return {"held_out_translation_mm": float(error[:3].mean() * 1e3), "held_out_rotation_rad": float(error[3:6].mean())}


def _assemble(run: Run, statistics: Statistics) -> None:
    figures = {}
    for stage in ("autoencoder", "gfdm", "gidm", "policy"):
        path = run.out / f"{stage}.figures.json"
        figures[stage] = json.loads(path.read_text()) if path.is_file() else None
    write_checkpoint(
        run.out / "checkpoint",
        name=run.preset.name,
        arm=run.arm,
        config=run.config,
        weights={FORWARD: _halved(run.out / "gfdm.safetensors"), INVERSE: _halved(run.out / "policy.safetensors")},
        statistics=statistics,
        provenance={
            "seed": run.seed,
            "episodes": len(run.frames.tasks),
            "samples": len(run.frames),
            "tasks": sorted(set(run.frames.tasks)),
            "torch": torch.__version__,
            "figures": figures,
        },
    )


def _halved(path: Path) -> Path:
    """The same weights as float16, which a policy needs no more than; training keeps float32."""
    made = path.with_suffix(".half.safetensors")
    save_file({k: v.half() for k, v in load_file(str(path)).items()}, str(made))
    return made


STAGE_FUNCTIONS: dict[str, Callable[[Run], None]] = {
    "autoencoder": train_autoencoder,
    "gfdm": train_gfdm,
    "gidm": train_gidm,
    "policy": train_policy,
}
