"""GFDM, the General Forward Dynamics Model: one frame and an instruction to the frames to come.

A text-conditioned latent video diffusion model in the EDM form of Stable Video Diffusion. The policy reads its
features from one pass at the largest noise level (defi-model 2.4), so a frame's future costs one evaluation.
`Backbone` is what differs between sizes; this module has the transformer that a CPU can run.
"""

from __future__ import annotations

import itertools
from typing import Protocol

import torch
from torch import Tensor, nn

from defi_models.config import AutoencoderConfig, GfdmConfig, TextConfig
from defi_models.models.autoencoder import Autoencoder
from defi_models.models.layers import Attention, FeedForward, modulate, sinusoid
from defi_models.models.text import TextEncoder

SIGMA_MIN, KARRAS_RHO = 0.002, 7.0  # of SVD's schedule


class Backbone(Protocol):
    """What predicts: the network inside the EDM preconditioning."""

    def trunk(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """Token features after each of `feature_blocks`, each (N, frames, tokens, width).

        Args:
            noisy: Scaled noisy latents, (N, frames, C, h, w).
            noise_level: ln(sigma) / 4, (N,).
            image: Latent of the present frame, (N, C, h, w).
            text: Word vectors, (N, words, text width).
            text_mask: True for real words, (N, words).
        """
        ...

    def head(self, tokens: Tensor) -> Tensor:
        """The raw prediction (N, frames, C, h, w) from the last features."""
        ...

    def patches(self, x: Tensor) -> Tensor:
        """Latents (N, frames, C, h, w) as patch tokens (N, frames, tokens, C * patch^2)."""
        ...


class Gfdm(nn.Module):
    """Autoencoder, text encoder and backbone: images and words in, features or frames out."""

    fixed_noise: Tensor

    def __init__(self, config: GfdmConfig, autoencoder: AutoencoderConfig, text: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(autoencoder)
        self.text = TextEncoder(text)
        cells = config.image_size // autoencoder.stride
        self.latent_shape = (autoencoder.latent_channels, cells, cells)
        self.backbone = SpatioTemporalTransformer(config, self.latent_shape, text.width)
        # One draw of noise, kept: at sigma_max the input carries nothing of the video, so features stay a function
        # of image and text, and a policy trained on stored features meets the same ones on the robot.
        noise = torch.randn(1, config.frames, *self.latent_shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed_noise", noise, persistent=False)

    @property
    def tokens(self) -> int:
        """Tokens of a frame."""
        return (self.latent_shape[1] // self.config.patch) ** 2

    @property
    def feature_width(self) -> int:
        """Width of a feature token: all feature blocks side by side."""
        return self.config.width * len(self.config.feature_blocks)

    def denoise(self, noisy: Tensor, sigma: Tensor, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """The clean latents that `noisy` (N, frames, C, h, w) at level `sigma` (N,) may come from (EDM, sigma_data 1)."""
        s = sigma[:, None, None, None, None]
        raw = self.backbone.head(
            self.backbone.trunk(noisy / (s**2 + 1).sqrt(), sigma.log() / 4, image, words, mask)[-1]
        )
        return noisy / (s**2 + 1) - s / (s**2 + 1).sqrt() * raw

    def features(self, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Features of the imagined clip from one pass at `sigma_max`, (N, frames, tokens, feature_width).

        Args:
            image: Latent of the present frame, (N, C, h, w).
            words: Word vectors, (N, words, text width).
            mask: True for real words, (N, words).
        """
        count = image.shape[0]
        level = image.new_full((count,), self.config.sigma_max).log() / 4
        return torch.cat(
            self.backbone.trunk(self.fixed_noise.expand(count, -1, -1, -1, -1), level, image, words, mask), dim=-1
        )

    def generate(self, image: Tensor, words: Tensor, mask: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """A clip for people to watch, images (N, frames, 3, H, W) in about -1..1, by `steps` Euler steps (defi-model 2.5).

        Noise levels fall from `sigma_max` to 0.002 as Karras et al. (2022, eq. 5, rho 7) space them; no guidance.
        """
        ramp = torch.linspace(1, 0, steps, device=image.device)
        low, high = SIGMA_MIN ** (1 / KARRAS_RHO), self.config.sigma_max ** (1 / KARRAS_RHO)
        sigmas = torch.cat([(low + ramp * (high - low)) ** KARRAS_RHO, ramp.new_zeros(1)])
        shape = (image.shape[0], self.config.frames, *self.latent_shape)
        x = torch.randn(shape, generator=generator).to(image) * sigmas[0]
        for now, following in itertools.pairwise(sigmas):
            clean = self.denoise(x, now.expand(len(x)), image, words, mask)
            x = clean + (following / now) * (x - clean)
        return self.autoencoder.decode(x.flatten(0, 1)).unflatten(0, shape[:2])

    def frames_from_features(self, features: Tensor) -> Tensor:
        """Images the features stand for, (N, frames, 3, H, W) in about -1..1: the one-pass estimate, so a soft one."""
        raw = self.backbone.head(features[..., -self.config.width :])
        latents = -raw  # at sigma_max c_skip is 0 and c_out is -1, to 2e-6
        return self.autoencoder.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])


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

    def head(self, tokens: Tensor) -> Tensor:
        """See `Backbone.head`."""
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
