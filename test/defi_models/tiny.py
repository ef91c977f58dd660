"""A DeFI of a few thousand weights and a dataset of a few frames, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint, write_checkpoint
from defi_models.config import (
    AutoencoderConfig,
    DecoderConfig,
    DefiConfig,
    GfdmConfig,
    GidmConfig,
    TextConfig,
)
from defi_models.datasets.episodes import Episode, save_episode
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.training import parallel
from defi_models.training.loop import Step, fit
from defi_models.training.presets import Schedule
from defi_models.transforms import Statistics

WORDS = ("close", "drawer", "open", "the")
DOWN = np.array([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def tiny_config() -> DefiConfig:
    """Every part present, every width small."""
    return DefiConfig(
        text=TextConfig(words=WORDS, max_words=6, width=16, heads=2),
        autoencoder=AutoencoderConfig(channels=(8, 8, 16)),
        gfdm=GfdmConfig(image_size=32, frames=3, frame_steps=2, width=16, depth=2, heads=2, feature_blocks=(1, 2)),
        gidm=GidmConfig(width=16, depth=2, heads=2, queries=2, codes=4, code_width=8),
        decoder=DecoderConfig(
            width=16, heads=2, former_depth=1, former_queries=2, former_head_width=8, encoder_depth=1, decoder_depth=1
        ),
        chunk_steps=5,
    )


def halves(config: DefiConfig, seed: int = 0) -> tuple[ForwardHalf, InverseHalf]:
    """Both halves with seeded random weights, in evaluation mode."""
    torch.manual_seed(seed)
    forward = ForwardHalf(config)
    inverse = InverseHalf(config, forward.gfdm.feature_width)
    for parameter in [*forward.parameters(), *inverse.parameters()]:
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)  # zero-initialised layers would hide what feeds them
    return forward.eval(), inverse.eval()


def tiny_checkpoint(folder: Path, *, arm: str = "franka_panda", seed: int = 0) -> Checkpoint:
    """A policy's folder with random weights."""
    config = tiny_config()
    forward, inverse = halves(config, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    weights = {FORWARD: folder.parent / "f.safetensors", INVERSE: folder.parent / "i.safetensors"}
    for module, path in zip((forward, inverse), weights.values(), strict=True):
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, str(path))
    statistics = Statistics((0.1,) * 6 + (1.0,), (0.0,) * 10, (1.0,) * 10)
    return write_checkpoint(
        folder, name="tiny", arm=arm, config=config, weights=weights, statistics=statistics, provenance={"seed": seed}
    )


def tiny_episodes(
    folder: Path, count: int = 3, samples: int = 12, cameras: tuple[str, ...] = ("static", "wrist")
) -> Path:
    """Episodes of noise in which the arm moves along x."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    poses = np.tile(DOWN, (samples, 1))
    poses[:, 0] += np.linspace(0, 0.1, samples)
    for index in range(count):
        episode = Episode(
            task="open_drawer",
            instructions=("open the drawer",),
            success=True,
            step_ns=100_000_000,
            images={c: rng.integers(0, 255, (samples, 40, 40, 3), dtype=np.uint8) for c in cameras},
            joint_positions=np.zeros((samples, 7)),
            ee_pose=poses,
            gripper=np.zeros(samples),
            target_pose=poses + np.array([0.01, 0, 0, 0, 0, 0, 0]),
            target_gripper=np.zeros(samples),
        )
        save_episode(episode, folder / f"episode_{index:06d}.npz")
    return folder


def train_line(out: Path) -> None:
    """Fits a line; leaves weights and figures of this process in `out`. Here, because a spawned process imports it."""
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 1)

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(step.rng.normal(size=(8, 4))).float()
        return (module(x).squeeze(-1) - x.sum(-1)).square().mean(), {"first": x[0, 0].item()}

    figures = fit(module, loss, Schedule(40, 8, 0.1, ema=0.5), out / "run", seed=0, progress=lambda _: None)
    tensors = {**module.state_dict(), "first": torch.tensor(figures["first"]), "loss": torch.tensor(figures["loss"])}
    save_file(tensors, str(out / f"{parallel.rank()}.safetensors"))
