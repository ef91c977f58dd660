"""The baseline that is not disentangled: one transformer that predicts future latents and actions in one pass.

As GR-1 (Wu et al. 2023, arXiv 2312.13139) it reads the present images, the words and the arm's state, and learns by the
errors of both predictions; clips without actions train it by their frames alone. It is built of the GFDM's own blocks
and made as deep as it takes to have as many parameters as both halves of DeFI together.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defi_models.config import DefiConfig, GfdmConfig, TextConfig
from defi_models.contract import ConfigError
from defi_models.models.layers import projector
from defi_models.models.text import TextEncoder
from defi_models.models.transformer import SpatioTemporalBlock

VIDEO_WEIGHT = 1.0  # of the error of latents, which have unit variance, against that of normalised actions
WIDER = 1.5  # times the GFDM's width; the depth then follows from the number of parameters


class Entangled(nn.Module):
    """Frame f of its sequence holds the tokens of that frame of each camera, the words, the state, and some actions.

    Args:
        config: The DeFI that it stands against: images, text, frames and actions are those.
        depth: Blocks.

    Raises:
        ConfigError: that DeFI is the one of published networks.
    """

    def __init__(self, config: DefiConfig, depth: int) -> None:
        super().__init__()
        gfdm, text = config.gfdm, config.text
        if not isinstance(gfdm, GfdmConfig) or not isinstance(text, TextConfig):
            raise ConfigError(
                f"{type(self).__name__}: got {type(gfdm).__name__} and {type(text).__name__}, expected the small "
                "transformer and text encoder, which it is built of"
            )
        heads = gfdm.heads
        width = int(WIDER * gfdm.width) // heads * heads
        self.config, self.width = config, width
        self.cameras, self.frames, self.tokens, _ = config.feature_shape
        self.patch = gfdm.patch
        self.channels = config.autoencoder.latent_channels
        self.slots = -(-config.chunk_steps // self.frames)  # action tokens of a frame
        patch_width = self.channels * self.patch**2
        self.text = TextEncoder(text)
        self.patch_in = nn.Linear(patch_width, width)
        self.text_in = nn.Linear(text.width, width)
        self.state_in = projector(config.proprioception_width, width)
        self.place = nn.Parameter(torch.randn(self.cameras * self.tokens, width) * 0.02)
        self.actions = nn.Parameter(torch.randn(self.frames, self.slots, width) * 0.02)
        self.time = nn.Parameter(torch.randn(self.frames, 1, width) * 0.02)
        self.modulation = nn.Parameter(torch.zeros(6, 1, width), requires_grad=False)  # blocks expect a noise level
        self.blocks = nn.ModuleList(SpatioTemporalBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.patch_out = nn.Linear(width, patch_width)
        self.action_out = nn.Linear(width, config.action_width)

    def forward(
        self, latents: Tensor, seen: Tensor, words: Tensor, mask: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Patches of the frames to come (N, cameras, frames, tokens, C p^2), and normalised actions (N, steps, width).

        Args:
            latents: Of the present frame, (N, cameras, C, h, w).
            seen: Whether a camera is there, (N, cameras).
            words: Word vectors of its text encoder, (N, L, text width).
            mask: True for real words, (N, L).
            state: Normalised arm state, (N, proprioception width); zeros where unknown.
        """
        count = len(latents)
        images = self.patch_in(self.patches(latents)).flatten(1, 2) + self.place  # (N, cameras * tokens, width)
        given = torch.cat([images, self.text_in(words), self.state_in(state)[:, None]], dim=1)
        given = given[:, None].expand(-1, self.frames, -1, -1)
        x = torch.cat([given, self.actions.expand(count, -1, -1, -1)], dim=2) + self.time
        known = torch.cat([seen.repeat_interleave(self.tokens, 1), mask, mask.new_ones(count, 1 + self.slots)], dim=1)
        for block in self.blocks:
            x = block(x, known.repeat_interleave(self.frames, 0), tuple(self.modulation))
        x = self.norm(x)
        frames = self.patch_out(x[:, :, : self.cameras * self.tokens]).unflatten(2, (self.cameras, -1))
        actions = self.action_out(x[:, :, -self.slots :]).flatten(1, 2)[:, : self.config.chunk_steps]
        return frames.transpose(1, 2), actions

    def patches(self, latents: Tensor) -> Tensor:
        """Latents (..., C, h, w) as patch tokens (..., tokens, C * patch^2)."""
        p = self.patch
        x = latents.unflatten(-1, (-1, p)).unflatten(-3, (-1, p))  # (..., C, g, p, g, p)
        return x.movedim((-4, -2), (-5, -4)).flatten(-3).flatten(-3, -2)

    def loss(
        self, clips: Tensor, seen: Tensor, words: Tensor, state: Tensor, actions: Tensor, labelled: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Errors of both predictions, each a mean over what is there, and figures.

        Args:
            clips: Latents, (N, cameras, frames, C, h, w); the first frame is given.
            seen: Whether a camera is there, (N, cameras).
            words: Token ids, (N, L).
            state: Normalised arm state, (N, proprioception width).
            actions: Normalised, (N, steps, action width); anything finite where there are none.
            labelled: Whether there are actions, (N,).
        """
        frames, found = self(clips[:, :, 0], seen, *self.text(words)[:2], state)
        error = (frames - self.patches(clips)).square()[:, :, 1:].mean((2, 3, 4))  # (N, cameras)
        video = (error * seen).sum() / seen.sum()
        each = F.smooth_l1_loss(found, actions, reduction="none").mean((1, 2))
        action = (each * labelled).sum() / labelled.sum().clamp(min=1)
        return VIDEO_WEIGHT * video + action, {"video_mse": video.item(), "action_error": action.item()}


def entangled_like(config: DefiConfig, parameters: int) -> Entangled:
    """The baseline whose number of parameters is nearest to `parameters`."""
    one, two = (sum(p.numel() for p in Entangled(config, depth).parameters()) for depth in (1, 2))
    return Entangled(config, max(1, round(1 + (parameters - one) / (two - one))))


def of_samples(latents: np.ndarray, views: np.ndarray) -> tuple[Tensor, Tensor]:
    """Latents (N, cameras, frames, C, h, w) with those of cameras that are not there at 0, and which are, (N, cameras)."""
    seen = torch.from_numpy(np.arange(latents.shape[1]) < views[:, None])
    return torch.from_numpy(latents).float() * seen[:, :, None, None, None, None], seen
