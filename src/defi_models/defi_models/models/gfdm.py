"""GFDM, the General Forward Dynamics Model: one frame and an instruction to the frames to come.

A text-conditioned latent video diffusion model in the EDM form of Stable Video Diffusion. The policy reads its
features from one pass at the largest noise level (defi-model 2.4), so a frame's future costs one evaluation.
`Backbone` is what differs between sizes: the UNet of SVD (`svd`), or the transformer that a CPU can run (`transformer`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from defi_models.config import AutoencoderConfig, DefiConfig, GfdmConfig, SvdAutoencoderConfig, SvdConfig
from defi_models.models.autoencoder import Autoencoder
from defi_models.models.text import TextEncoder, needs_base, text_encoder
from defi_models.models.transformer import SpatioTemporalTransformer

if TYPE_CHECKING:
    from defi_models.models.pretrained import ClipText, T5AndClipText
    from defi_models.models.svd import SvdAutoencoder, SvdBackbone

SIGMA_MIN, KARRAS_RHO = 0.002, 7.0  # of SVD's schedule


class Backbone(Protocol):
    """What predicts: the network inside the EDM preconditioning."""

    def trunk(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """Features from the depths it takes them from, each (N, frames, tokens, width); runs no further than the last.

        Args:
            noisy: Scaled noisy latents, (N, frames, C, h, w).
            noise_level: ln(sigma) / 4, (N,).
            image: Latent of the present frame, (N, C, h, w).
            text: Word vectors, (N, words, text width).
            text_mask: True for real words, (N, words).
        """
        ...

    def predict(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """The raw prediction (N, frames, C, h, w)."""
        ...

    def sketch(self, features: Tensor) -> Tensor | None:
        """The raw prediction (N, frames, C, h, w) that features (N, frames, tokens, feature width) lead to.

        None where the features alone do not determine it.
        """
        ...


class Latents(Protocol):
    """Frames to latents and back."""

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unscaled latents of `images` (N, 3, H, W) in -1..1, each (N, C, h, w)."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Scaled mode of the latents of `images`, (N, C, h, w)."""
        ...

    def decode_clips(self, latents: Tensor) -> Tensor:
        """Images in about -1..1, (N, F, 3, H, W), of scaled latents (N, F, C, h, w)."""
        ...


class Gfdm(nn.Module):
    """Autoencoder, text encoder and backbone: images and words in, features or frames out.

    Args:
        config: The model.
        video: Whether it shall also predict, for training and for video; a policy needs features only.
    """

    autoencoder: Autoencoder | SvdAutoencoder
    text: TextEncoder | ClipText | T5AndClipText
    backbone: SpatioTemporalTransformer | SvdBackbone
    fixed_noise: Tensor

    def __init__(self, config: DefiConfig, video: bool = False) -> None:
        super().__init__()
        self.config = config.gfdm
        cells = config.gfdm.image_size // config.autoencoder.stride
        self.latent_shape = (config.autoencoder.latent_channels, cells, cells)
        self.text = text_encoder(config.text)
        if isinstance(config.gfdm, SvdConfig) and isinstance(config.autoencoder, SvdAutoencoderConfig):
            with needs_base("the SVD backbone"):
                from defi_models.models.svd import SvdAutoencoder, SvdBackbone
            self.autoencoder = SvdAutoencoder(config.autoencoder, video)
            self.backbone = SvdBackbone(config.gfdm, config.autoencoder, video)
        elif isinstance(config.gfdm, GfdmConfig) and isinstance(config.autoencoder, AutoencoderConfig):
            self.autoencoder = Autoencoder(config.autoencoder)
            self.backbone = SpatioTemporalTransformer(config.gfdm, self.latent_shape, self.text.width)
        # One draw of noise, kept: at sigma_max the input carries nothing of the video, so features stay a function
        # of image and text, and a policy trained on stored features meets the same ones on the robot.
        shape = (1, config.gfdm.frames, *self.latent_shape)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")
        self.register_buffer("fixed_noise", noise, persistent=False)

    @property
    def feature_width(self) -> int:
        """Width of a feature token."""
        return self.config.feature_width

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the autoencoder and the backbone; the text encoder keeps its own."""
        return next(self.backbone.parameters()).dtype

    def to_half_precision(self) -> None:
        """Runs the autoencoder and the backbone in float16, the former too although SVD asks to keep it in float32.

        The paper's code does both (defi-model 6.3, 7); text is encoded in float32 and then cast.
        """
        self.autoencoder.half()
        self.backbone.half()

    def denoise(self, noisy: Tensor, sigma: Tensor, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """The clean latents that `noisy` (N, frames, C, h, w) at level `sigma` (N,) may come from (EDM, sigma_data 1)."""
        s = sigma[:, None, None, None, None]
        raw = self.backbone.predict(noisy / (s**2 + 1).sqrt(), sigma.log() / 4, image, words, mask)
        return noisy / (s**2 + 1) - s / (s**2 + 1).sqrt() * raw

    def features(self, image: Tensor, words: Tensor, mask: Tensor, noise: Tensor | None = None) -> Tensor:
        """Features of the imagined clip from one pass at `sigma_max`, (N, frames, tokens, feature_width).

        Args:
            image: Latent of the present frame, (N, C, h, w).
            words: Word vectors, (N, words, text width).
            mask: True for real words, (N, words).
            noise: Unit noise (N, frames, C, h, w) in place of the draw that is kept.
        """
        count = image.shape[0]
        noise = self.fixed_noise.expand(count, -1, -1, -1, -1) if noise is None else noise
        level = noise.new_full((count,), self.config.sigma_max).log() / 4
        return torch.cat(self.backbone.trunk(noise.to(image.dtype), level, image, words, mask), dim=-1)

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
        return self.autoencoder.decode_clips(x)

    def frames_from_features(self, features: Tensor) -> Tensor | None:
        """Images the features stand for, (N, frames, 3, H, W) in about -1..1: the one-pass estimate, so a soft one.

        None where the backbone needs more than its features for it (SVD); `generate` makes a video there.
        """
        raw = self.backbone.sketch(features)
        if raw is None:
            return None
        return self.autoencoder.decode_clips(-raw)  # at sigma_max c_skip is 0 and c_out is -1, to 2e-6
