"""Frames to latents and back: the small autoencoder that stands where the base model has SVD's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defi_models.config import AutoencoderConfig


class Autoencoder(nn.Module):
    """A convolutional variational autoencoder of single frames; latents have about unit variance after `scale`."""

    latent_scale: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        down: list[nn.Module] = []
        width = 3
        for channels in config.channels:
            down += [nn.Conv2d(width, channels, 4, stride=2, padding=1), Residual(channels)]
            width = channels
        self.encoder = nn.Sequential(
            *down, nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 2 * config.latent_channels, 1)
        )
        up: list[nn.Module] = [nn.Conv2d(config.latent_channels, width, 3, padding=1), Residual(width)]
        for channels in reversed(config.channels[:-1]):
            up += [nn.Conv2d(width, 4 * channels, 1), nn.PixelShuffle(2), Residual(channels)]
            width = channels
        # The last doubling goes straight to pixels: layers at full resolution cost more than all the others together.
        to_pixels = nn.Conv2d(width, 3 * 4, 3, padding=1)
        self.decoder = nn.Sequential(*up, nn.GroupNorm(8, width), nn.SiLU(), to_pixels, nn.PixelShuffle(2))
        self.register_buffer("latent_scale", torch.ones(()))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unscaled latents of `images` (N, 3, H, W) in -1..1, each (N, C, h, w)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)

    def encode(self, images: Tensor) -> Tensor:
        """Scaled mode of the latents of `images` (N, 3, H, W) in -1..1, as (N, C, H / stride, W / stride)."""
        return self.moments(images)[0] * self.latent_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images in about -1..1, (N, 3, H, W), of scaled latents (N, C, h, w)."""
        return self.decoder(latents / self.latent_scale)

    def decode_clips(self, latents: Tensor) -> Tensor:
        """Images in about -1..1, (N, F, 3, H, W), of scaled latents (N, F, C, h, w)."""
        return self.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])


class Residual(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, around a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape (N, C, H, W)."""
        return x + self.body(x)
