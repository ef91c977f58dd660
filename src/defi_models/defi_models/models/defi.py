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
from defi_models.models.text import text_encoder
from defi_models.sampling import Promise


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
    """GFDM over all cameras: images and instruction to the features of the frames to come.

    Args:
        config: The model.
        video: Whether it shall also predict, for training and for video; a policy needs features only.
    """

    def __init__(self, config: DefiConfig, video: bool = False) -> None:
        super().__init__()
        self.config = config
        self.gfdm = Gfdm(config, video)

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """(cameras, frames, tokens, feature width) of one observation."""
        return self.config.feature_shape

    def forward(self, images: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Features (B, *feature_shape) of `images` (B, cameras, 3, H, W) in -1..1 and encoded words (B, L, width)."""
        count, cameras = images.shape[:2]
        latents = self.gfdm.autoencoder.encode(images.flatten(0, 1).to(self.gfdm.dtype))
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

    fixed_noise: Tensor

    def __init__(self, config: DefiConfig, feature_width: int) -> None:
        super().__init__()
        width = config.decoder.width
        self.config = config
        self.text = text_encoder(config.text, inverse=True)
        self.goal_emb = projector(feature_width, config.gidm.width)
        self.time_pos_emb = nn.Parameter(torch.zeros(2, 1, config.gidm.width))
        self.gidm = Gidm(config.gidm, self.text.width)
        self.video_former = VideoFormer(config.decoder, config.gfdm.frames, feature_width)
        self.lang_emb = projector(self.text.pooled_width, width, config.decoder.language_hidden)
        self.tok_emb = nn.Linear(width, width)
        self.tok_emb_token = nn.Linear(config.gidm.width, width)
        self.proprio_emb = projector(config.proprioception_width, width) if config.proprioception_width else None
        self.denoiser = ActionDenoiser(config.decoder, config.action_width, config.chunk_steps)
        # One draw of noise, kept: the same observation gives the same chunk.
        shape = (1, config.chunk_steps, config.action_width)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")
        self.register_buffer("fixed_noise", noise, persistent=False)

    def context(
        self, features: Tensor, words: Tensor, mask: Tensor, pooled: Tensor, proprioception: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context tokens [language | arm state | video | motion] (B, tokens, width), and the GIDM's codebook loss.

        Args:
            features: GFDM features, (B, cameras, frames, tokens, feature width).
            words: Word vectors of this half's own text encoder, (B, words, text width).
            mask: True for real words, (B, words).
            pooled: One vector an instruction, (B, pooled width).
            proprioception: Normalised arm state, (B, proprioception_width).
        """
        frames = features[:, 0, [0, self.config.goal_frame]]  # (B, 2, tokens, feature width)
        motion, actions = self.gidm(self.goal_emb(frames) + self.time_pos_emb, words, mask)
        video = self.video_former(features.transpose(1, 2).flatten(2, 3))  # cameras side by side in each frame
        tokens = [self.lang_emb(pooled)[:, None]]
        if self.proprio_emb is not None:
            tokens.append(self.proprio_emb(proprioception)[:, None])
        return torch.cat([*tokens, self.tok_emb(video), self.tok_emb_token(motion)], dim=1), actions.loss

    def loss(self, inputs: InverseInputs, actions: Tensor, uniform: Tensor, noise: Tensor) -> Tensor:
        """Denoising loss + codebook losses for normalised `actions`; see `ActionDenoiser.loss`."""
        words, mask, pooled = self.text(inputs.words)
        context, codebook_loss = self.context(inputs.features, words, mask, pooled, inputs.proprioception)
        return self.denoiser.loss(actions, context, uniform, noise) + codebook_loss

    def forward(self, inputs: InverseInputs, noise: Tensor) -> Tensor:
        """Normalised actions (B, steps, action_width), sampled from unit `noise` of that shape."""
        words, mask, pooled = self.text(inputs.words)
        return self.act(inputs.features, words, mask, pooled, inputs.proprioception, noise)

    def act(
        self,
        features: Tensor,
        words: Tensor,
        mask: Tensor,
        pooled: Tensor,
        proprioception: Tensor,
        noise: Tensor,
        promised: Promise[Tensor] | None = None,
    ) -> Tensor:
        """The same from encoded words (see `context`), beside actions that were promised already."""
        context, _ = self.context(features, words, mask, pooled, proprioception)
        return self.denoiser.sample(self.denoiser.read(context), noise, promised)


def count_parameters(modules: Sequence[nn.Module]) -> int:
    """Parameters of all `modules`."""
    return sum(p.numel() for module in modules for p in module.parameters())
