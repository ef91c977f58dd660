"""DeFI: the forward and the inverse half, and the one forward pass that couples them.

The halves share no weights and meet in one tensor, the GFDM's features, so each may run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defi_models.config import DefiConfig
from defi_models.models.decoder import ActionDenoiser, VideoFormer
from defi_models.models.gfdm import Gfdm
from defi_models.models.gidm import Gidm
from defi_models.models.layers import projector
from defi_models.models.text import TextEncoder


class InverseInputs(NamedTuple):
    """What the inverse half is given.

    Attributes:
        features: GFDM features, (B, cameras, frames, tokens, feature width).
        words: Token ids of the instructions, (B, max_words).
        proprioception: Normalised arm state, (B, proprioception_width).
    """

    features: Tensor
    words: Tensor
    proprioception: Tensor


class ForwardHalf(nn.Module):
    """GFDM over all cameras: images and instruction to the features of the frames to come."""

    def __init__(self, config: DefiConfig) -> None:
        super().__init__()
        self.config = config
        self.gfdm = Gfdm(config.gfdm, config.autoencoder, config.text)

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """(cameras, frames, tokens, feature width) of one observation."""
        gfdm = self.gfdm
        return len(self.config.cameras), self.config.gfdm.frames, gfdm.tokens, gfdm.feature_width

    def forward(self, images: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Features (B, *feature_shape) of `images` (B, cameras, 3, H, W) in -1..1 and encoded words (B, L, width)."""
        count, cameras = images.shape[:2]
        latents = self.gfdm.autoencoder.encode(images.flatten(0, 1))
        return self.from_latents(latents.unflatten(0, (count, cameras)), words, mask)

    def from_latents(self, latents: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """The same from the latents of the present frames, (B, cameras, C, h, w)."""
        count, cameras = latents.shape[:2]
        features = self.gfdm.features(
            latents.flatten(0, 1), words.repeat_interleave(cameras, 0), mask.repeat_interleave(cameras, 0)
        )
        return features.unflatten(0, (count, cameras))


class InverseHalf(nn.Module):
    """GIDM, video former and action denoiser: imagined features to actions."""

    def __init__(self, config: DefiConfig, feature_width: int) -> None:
        super().__init__()
        width = config.decoder.width
        self.config = config
        self.text = TextEncoder(config.text)
        self.goal_emb = projector(feature_width, config.gidm.width)
        self.time_pos_emb = nn.Parameter(torch.zeros(2, 1, config.gidm.width))
        self.gidm = Gidm(config.gidm, config.text.width)
        self.video_former = VideoFormer(config.decoder, config.gfdm.frames, feature_width)
        self.lang_emb = projector(config.text.width, width)
        self.tok_emb = nn.Linear(width, width)
        self.tok_emb_token = nn.Linear(config.gidm.width, width)
        self.proprio_emb = projector(config.proprioception_width, width) if config.proprioception_width else None
        self.denoiser = ActionDenoiser(config.decoder, config.action_width, config.chunk_steps)

    def context(self, inputs: InverseInputs) -> tuple[Tensor, Tensor]:
        """Context tokens [language | arm state | video | motion] (B, tokens, width), and the GIDM's codebook loss."""
        features = inputs.features
        words, mask = self.text(inputs.words)
        pooled = (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        frames = features[:, 0, [0, self.config.goal_frame]]  # (B, 2, tokens, feature width)
        motion, actions = self.gidm(self.goal_emb(frames) + self.time_pos_emb, words, mask)
        video = self.video_former(features.transpose(1, 2).flatten(2, 3))  # cameras side by side in each frame
        tokens = [self.lang_emb(pooled)[:, None]]
        if self.proprio_emb is not None:
            tokens.append(self.proprio_emb(inputs.proprioception)[:, None])
        return torch.cat([*tokens, self.tok_emb(video), self.tok_emb_token(motion)], dim=1), actions.loss

    def loss(self, inputs: InverseInputs, actions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Denoising loss + codebook losses for normalised `actions` (B, steps, action_width)."""
        context, codebook_loss = self.context(inputs)
        return self.denoiser.loss(actions, context, generator) + codebook_loss

    def forward(self, inputs: InverseInputs, noise: Tensor) -> Tensor:
        """Normalised actions (B, steps, action_width), sampled from unit `noise` of that shape."""
        return self.denoiser.sample(self.denoiser.encode(self.context(inputs)[0]), noise)


def count_parameters(modules: Sequence[nn.Module]) -> int:
    """Parameters of all `modules`."""
    return sum(p.numel() for module in modules for p in module.parameters())
