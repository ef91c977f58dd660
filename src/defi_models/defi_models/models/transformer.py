"""The GFDM's backbone that a CPU can run: a spatio-temporal diffusion transformer over patches of latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defi_models.config import GfdmConfig
from defi_models.models.layers import Attention, FeedForward, modulate, sinusoid


class SpatioTemporalTransformer(nn.Module):
    """Attention within a frame (with the words), then across frames, then a feed-forward, modulated by the noise level."""

    def __init__(self, config: GfdmConfig, latent_shape: tuple[int, int, int], text_width: int) -> None:
        super().__init__()
        channels, cells, _ = latent_shape
        self.config = config
        self.grid = cells // config.patch
        self.channels = channels
        width = config.width
        self.patch_in = nn.Linear(2 * channels * config.patch**2, width)
        self.text_in = nn.Linear(text_width, width)
        self.place = nn.Parameter(torch.randn(self.grid**2, width) * 0.02)
        self.time = nn.Parameter(torch.randn(config.frames, 1, width) * 0.02)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(SpatioTemporalBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.patch_out = nn.Linear(width, channels * config.patch**2)
        nn.init.zeros_(self.patch_out.weight)
        nn.init.zeros_(self.patch_out.bias)

    def trunk(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """See `Backbone.trunk`."""
        count, frames = noisy.shape[:2]
        pair = torch.cat([noisy, image[:, None].expand(-1, frames, -1, -1, -1)], dim=2)  # (N, F, 2C, h, w)
        x = self.patch_in(self.patches(pair)) + self.place + self.time  # (N, F, tokens, width)
        words = self.text_in(text)[:, None].expand(-1, frames, -1, -1)  # (N, F, words, width)
        x = torch.cat([x, words], dim=2)
        seen = torch.cat([text_mask.new_ones(count, self.grid**2), text_mask], dim=1).repeat_interleave(frames, dim=0)
        modulation = self.level(sinusoid(noise_level * 100.0, self.config.width)).chunk(6, dim=-1)
        taken = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, seen, modulation)
            if number in self.config.feature_blocks:
                taken.append(x[:, :, : self.grid**2])
        return taken

    def predict(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """See `Backbone.predict`."""
        return self.head(self.trunk(noisy, noise_level, image, text, text_mask)[-1])

    def sketch(self, features: Tensor) -> Tensor | None:
        """See `Backbone.sketch`; the last feature block is the last block."""
        return self.head(features[..., -self.config.width :])

    def head(self, tokens: Tensor) -> Tensor:
        """The raw prediction (N, F, C, h, w) from the last block's tokens (N, F, tokens, width)."""
        patches = self.patch_out(self.norm(tokens))  # (N, F, tokens, C * patch^2)
        p, g = self.config.patch, self.grid
        x = patches.unflatten(-1, (self.channels, p, p)).unflatten(2, (g, g))  # (N, F, g, g, C, p, p)
        return x.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)  # (N, F, C, h, w)

    def patches(self, x: Tensor) -> Tensor:
        """Latents (N, F, C, h, w) as patch tokens (N, F, tokens, C * patch^2)."""
        p = self.config.patch
        x = x.unflatten(-1, (-1, p)).unflatten(-3, (-1, p))  # (N, F, C, g, p, g, p)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # (N, F, tokens, C * p^2)


class SpatioTemporalBlock(nn.Module):
    """One block; its modulation is shared by all blocks and shifted by the block's own table (as in PixArt, 2.3)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_space = nn.LayerNorm(width)
        self.space = Attention(width, heads)
        self.norm_time = nn.LayerNorm(width)
        self.time = Attention(width, heads)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_layer = FeedForward(width)
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, seen: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Maps tokens (N, F, tokens, width) to the same shape.

        Args:
            x: Tokens of every frame, words last.
            seen: True for tokens that may be attended, (N * F, tokens).
            modulation: shift, scale and gate of space and of the feed-forward, each (N, width).
        """
        count, frames = x.shape[:2]
        parts = [(m + t)[:, None, None] for m, t in zip(modulation, self.table, strict=True)]
        shift_space, scale_space, gate_space, shift_forward, scale_forward, gate_forward = parts
        y = modulate(self.norm_space(x), shift_space, scale_space, 1.0)
        x = x + (1 + gate_space) * self.space(y.flatten(0, 1), mask=seen).unflatten(0, (count, frames))
        y = self.norm_time(x).transpose(1, 2)  # (N, tokens, F, width)
        x = x + self.time(y.flatten(0, 1)).unflatten(0, (count, -1)).transpose(1, 2)
        y = modulate(self.norm_forward(x), shift_forward, scale_forward, 1.0)
        return x + (1 + gate_forward) * self.forward_layer(y)
