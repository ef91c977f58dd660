"""Stable Video Diffusion's UNet and autoencoder as the GFDM's backbone (defi-model 2), on the modules of diffusers.

Keys of the weights are those of diffusers' `unet/` and `vae/` folders. What only generated video needs (the last two up
blocks, the way out, the autoencoder's decoder) is neither made nor loaded unless asked for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from defi_models.config import SvdAutoencoderConfig, SvdConfig
from defi_models.contract import ConfigError

FEATURE_BLOCKS = 2  # up blocks whose outputs are the features (defi-model 2.4: extract_layer_idx 1, all layers)
DECODED_AT_ONCE = 7  # frames the temporal decoder sees together (defi-model 2.5)
LOG_VARIANCE = (-30.0, 20.0)  # diffusers' DiagonalGaussianDistribution


class SvdAutoencoder(nn.Module):
    """SVD's autoencoder; `video` adds the decoder."""

    def __init__(self, config: SvdAutoencoderConfig, video: bool) -> None:
        super().__init__()
        made = AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * len(config.channels),  # type: ignore[arg-type]
            block_out_channels=config.channels,  # type: ignore[arg-type]
            layers_per_block=config.layers,
            latent_channels=config.latent_channels,
        )
        self.config = config
        self.encoder = made.encoder
        self.quant_conv = made.quant_conv
        self.decoder = made.decoder if video else None

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unscaled latents of `images` (N, 3, H, W) in -1..1, each (N, C, h, w)."""
        mean, log_variance = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def encode(self, images: Tensor) -> Tensor:
        """Scaled mode of the latents of `images` (N, 3, H, W) in -1..1, as (N, C, H / stride, W / stride)."""
        return self.moments(images)[0] * self.config.latent_scale

    def decode_clips(self, latents: Tensor) -> Tensor:
        """Images in about -1..1, (N, F, 3, H, W), of scaled latents (N, F, C, h, w), a few frames at a time."""
        decoder = self.decoder
        if decoder is None:
            raise ConfigError("video: got a GFDM loaded for features only, expected one loaded with `video=True`")
        parts = []
        for part in (latents / self.config.latent_scale).split(DECODED_AT_ONCE, dim=1):
            images_only = part.new_zeros(part.shape[:2])
            found = decoder(part.flatten(0, 1), num_frames=part.shape[1], image_only_indicator=images_only)
            parts.append(found.unflatten(0, part.shape[:2]))
        return torch.cat(parts, dim=1)


class SvdBackbone(nn.Module):
    """SVD's UNet with text in place of the image embedding; see `Backbone`.

    Args:
        config: Its size.
        latents: The autoencoder its latents come from.
        video: Whether it can predict, for training and for video; else it gives features only.
    """

    def __init__(self, config: SvdConfig, latents: SvdAutoencoderConfig, video: bool) -> None:
        super().__init__()
        made = UNetSpatioTemporalConditionModel(
            in_channels=2 * latents.latent_channels,
            out_channels=latents.latent_channels,
            block_out_channels=config.channels,
            addition_time_embed_dim=config.id_width,
            projection_class_embeddings_input_dim=3 * config.id_width,
            layers_per_block=config.layers,
            cross_attention_dim=config.text_width,
            num_attention_heads=config.heads,
            num_frames=config.frames,
        )
        self.config = config
        self.latent_scale = latents.latent_scale
        self.conv_in = made.conv_in
        self.time_proj, self.time_embedding = made.time_proj, made.time_embedding
        self.add_time_proj, self.add_embedding = made.add_time_proj, made.add_embedding
        self.down_blocks, self.mid_block = made.down_blocks, made.mid_block
        self.up_blocks = made.up_blocks if video else made.up_blocks[:FEATURE_BLOCKS]
        self.conv_norm_out = made.conv_norm_out if video else None
        self.conv_out = made.conv_out if video else None

    def trunk(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """See `Backbone.trunk`; stops after the second up block. The mask is unused: the UNet attends to padding too."""
        coarse, fine = self._up(noisy, noise_level, image, text, FEATURE_BLOCKS)
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return [x.flatten(2).transpose(1, 2).unflatten(0, noisy.shape[:2]) for x in (coarse, fine)]

    def predict(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """See `Backbone.predict`."""
        norm, out = self.conv_norm_out, self.conv_out
        if norm is None or out is None:
            raise ConfigError("video: got a GFDM loaded for features only, expected one loaded with `video=True`")
        x = self._up(noisy, noise_level, image, text, len(self.up_blocks))[-1]
        return out(F.silu(norm(x))).unflatten(0, noisy.shape[:2])

    def sketch(self, features: Tensor) -> Tensor | None:
        """See `Backbone.sketch`: the UNet's way out also needs what its way down kept, so there is none."""
        return None

    def _up(self, noisy: Tensor, noise_level: Tensor, image: Tensor, text: Tensor, blocks: int) -> list[Tensor]:
        """Outputs (N * frames, C, h, w) of the first `blocks` up blocks, as diffusers' forward pass computes them."""
        count, frames = noisy.shape[:2]
        # The image's latent is not scaled while the video's are (defi-model 2.2).
        given = (image / self.latent_scale)[:, None].expand(-1, frames, -1, -1, -1)
        x = self.conv_in(torch.cat([noisy, given], dim=2).flatten(0, 1))  # (N * F, C, h, w)
        embedded = self._embed(noise_level, x.dtype).repeat_interleave(frames, dim=0)
        words = text.repeat(1, 1, self.config.text_width // text.shape[-1]).to(x.dtype)
        words = words.repeat_interleave(frames, dim=0)  # (N * F, words, text width)
        images_only = x.new_zeros(count, frames)
        skipped = (x,)
        for block in self.down_blocks:
            read = {"encoder_hidden_states": words} if getattr(block, "has_cross_attention", False) else {}
            x, more = block(hidden_states=x, temb=embedded, image_only_indicator=images_only, **read)
            skipped += more
        x = self.mid_block(x, embedded, words, images_only)
        found = []
        for block in self.up_blocks[:blocks]:
            read = {"encoder_hidden_states": words} if getattr(block, "has_cross_attention", False) else {}
            taken, skipped = skipped[-len(block.resnets) :], skipped[: -len(block.resnets)]  # type: ignore[arg-type]
            x = block(
                hidden_states=x,
                temb=embedded,
                res_hidden_states_tuple=taken,
                image_only_indicator=images_only,
                **read,
            )
            found.append(x)
        return found

    def _embed(self, noise_level: Tensor, dtype: torch.dtype) -> Tensor:
        """The embedded noise level and ids, (N, width); ids are [fps, motion, 0], fps as given (defi-model 2.2)."""
        count = len(noise_level)
        ids = noise_level.new_tensor(
            [self.config.training_fps if self.training else self.config.fps, self.config.motion, 0]
        )
        embedded_ids = self.add_time_proj(ids).flatten().expand(count, -1).to(dtype)  # (N, 3 * id width)
        return self.time_embedding(self.time_proj(noise_level).to(dtype)) + self.add_embedding(embedded_ids)
