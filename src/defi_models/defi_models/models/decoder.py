"""The action decoder: imagined video and latent motion to a chunk of actions.

`VideoFormer` condenses the GFDM's features to a few tokens a frame; `ActionDenoiser` is a diffusion transformer over
the actions of a chunk in EDM form, sampled with DDIM (defi-model 4.1 and 4.3, whose structure is kept at every size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defi_models.config import DecoderConfig
from defi_models.models.layers import Attention, FeedForward, KeysValues, modulate, projector, sinusoid
from defi_models.sampling import Promise, ddim

CENTRE, SPREAD = 0.5, 0.5  # of the log-logistic noise levels of training; they reach from this to sigma_max
TRAINED_SIGMA_MIN = 1e-3  # (defi-model 4.3)


class VideoFormer(nn.Module):
    """Perceiver over each frame's features, attention across frames, feed-forward.

    Args:
        config: Its size.
        frames: Frames it is given.
        feature_width: Width of a feature token.
    """

    def __init__(self, config: DecoderConfig, frames: int, feature_width: int) -> None:
        super().__init__()
        width = config.width
        self.goal_emb = projector(feature_width, width, config.former_hidden)
        self.time_pos_emb = nn.Parameter(torch.zeros(frames, 1, width))
        self.latents = nn.Parameter(torch.randn(frames, config.former_queries, width))
        self.layers = nn.ModuleList(VideoFormerLayer(config) for _ in range(config.former_depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Video tokens (B, frames * queries, width), frame-major, of `features` (B, frames, tokens, feature_width)."""
        media = self.goal_emb(features) + self.time_pos_emb  # (B, F, tokens, width)
        x = self.latents.expand(features.shape[0], -1, -1, -1)  # (B, F, queries, width)
        for layer in self.layers:
            x = layer(x, media)
        return self.norm(x).flatten(1, 2)


class VideoFormerLayer(nn.Module):
    """One layer; the temporal attention has no norm before it, as in the paper's code (defi-model 4.1)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.perceive = Attention(width, config.heads, config.former_head_width, out_bias=False)
        self.temporal = Attention(width, config.heads, qkv_bias=True)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_layer = FeedForward(width, bias=False)

    def forward(self, x: Tensor, media: Tensor) -> Tensor:
        """Maps latents (B, F, queries, width) to the same shape, reading `media` (B, F, tokens, width)."""
        shape = x.shape[:2]
        latents = self.norm_latents(x)
        context = torch.cat([self.norm_media(media), latents], dim=2)
        x = x + self.perceive(latents.flatten(0, 1), context.flatten(0, 1)).unflatten(0, shape)
        y = x.transpose(1, 2).flatten(0, 1)  # (B * queries, F, width)
        x = x + self.temporal(y).unflatten(0, (shape[0], -1)).transpose(1, 2)
        return x + self.forward_layer(self.norm_forward(x))


class ActionDenoiser(nn.Module):
    """A diffusion transformer over the actions of a chunk.

    The context does not depend on the noise: it is mixed and projected once a chunk (`read`), and each step of sampling
    runs the decoder alone.

    Args:
        config: Its size.
        action_width: Numbers of one action.
        steps: Actions of a chunk.
    """

    def __init__(self, config: DecoderConfig, action_width: int, steps: int) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.steps, self.action_width = steps, action_width
        self.encoder = nn.ModuleList(ContextLayer(config) for _ in range(config.encoder_depth))
        self.encoder_norm = nn.LayerNorm(width, bias=False)
        self.action_emb = nn.Linear(action_width, width)
        self.place = nn.Parameter(torch.zeros(steps, width)) if config.action_places else None
        self.sigma_emb = nn.Sequential(nn.Linear(width, 2 * width), nn.Mish(), nn.Linear(2 * width, width))
        self.decoder = nn.ModuleList(ActionLayer(config) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(width, bias=False)
        self.action_pred = nn.Linear(width, action_width)
        if config.initial_std is not None:
            self.apply(self._initialise)

    def read(self, context: Tensor) -> list[KeysValues]:
        """Mixes the context tokens (B, tokens, width) and projects them for each layer of the decoder."""
        for layer in self.encoder:
            context = layer(context)
        context = self.encoder_norm(context)
        return [cast(ActionLayer, layer).cross.project(context) for layer in self.decoder]

    def denoise(self, noisy: Tensor, sigma: Tensor, context: Sequence[KeysValues]) -> Tensor:
        """Clean actions that `noisy` (B, steps, action_width) at level `sigma` (B,) may come from, given what was read."""
        c_skip, c_out, c_in = self._preconditioning(sigma)
        return c_skip * noisy + c_out * self._network(c_in * noisy, sigma, context)

    def loss(self, actions: Tensor, context: Tensor, uniform: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error in the network's own output space, sigma log-logistic (defi-model 4.3).

        Several draws of noise may share a sample: its context is read once, and reading it is most of the cost.

        Args:
            actions: Normalised, (B, steps, action_width).
            context: Context tokens, (B, tokens, width).
            uniform: A number in 0..1 a draw, which chooses the noise level, (B, draws) or (B,) for one.
            noise: Unit noise, (B, draws, steps, action_width) or (B, steps, action_width).
        """
        draws = noise[0].numel() // actions[0].numel()
        noise, uniform = noise.reshape(-1, *actions.shape[1:]), uniform.reshape(-1)
        actions = actions.repeat_interleave(draws, 0)
        read = self.read(context)
        lowest, highest = (1 / (1 + (CENTRE / s) ** (1 / SPREAD)) for s in (TRAINED_SIGMA_MIN, self.config.sigma_max))
        u = lowest + (highest - lowest) * uniform
        sigma = (math.log(CENTRE) + SPREAD * torch.logit(u)).exp().to(actions)
        c_skip, c_out, c_in = self._preconditioning(sigma)
        noisy = actions + sigma[:, None, None] * noise
        target = (actions - c_skip * noisy) / c_out
        return F.mse_loss(self._network(c_in * noisy, sigma, read), target)

    def sample(self, context: Sequence[KeysValues], noise: Tensor, promised: Promise[Tensor] | None = None) -> Tensor:
        """Actions (B, steps, action_width) by DDIM from unit `noise` of that shape; see `ddim`."""
        return ddim(
            lambda x, sigma: self.denoise(x, x.new_full((len(x),), sigma), context), noise, self.config, promised
        )

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.initial_std or 0.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def _preconditioning(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = sigma[:, None, None]
        data = self.config.sigma_data
        total = s**2 + data**2
        return data**2 / total, s * data / total.sqrt(), 1 / total.sqrt()

    def _network(self, x: Tensor, sigma: Tensor, context: Sequence[KeysValues]) -> Tensor:
        condition = self.sigma_emb(sinusoid(sigma.log() / 4, self.config.width))[:, None]
        x = self.action_emb(x)  # (B, steps, width)
        if self.place is not None:
            x = x + self.place
        for layer, read in zip(self.decoder, context, strict=True):
            x = layer(x, read, condition)
        return self.action_pred(self.decoder_norm(x))


def denoiser_attention(config: DecoderConfig) -> Attention:
    """Attention as the denoiser has it everywhere."""
    return Attention(config.width, config.heads, qkv_bias=True, out_bias=False, dropout=config.attention_dropout)


class ContextLayer(nn.Module):
    """Bidirectional self-attention and feed-forward over the context."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, bias=False)
        self.attention = denoiser_attention(config)
        self.norm2 = nn.LayerNorm(config.width, bias=False)
        self.mlp = FeedForward(config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.residual_dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape (B, tokens, width)."""
        x = x + self.residual_dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class ActionLayer(nn.Module):
    """Causal self-attention, cross-attention to the context, feed-forward; the noise level modulates the first and last."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.attention = denoiser_attention(config)
        self.norm3 = nn.LayerNorm(width)
        self.cross = denoiser_attention(config)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.mlp = FeedForward(width, bias=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.dropout = nn.Dropout(config.dropout)
        self.residual_dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x: Tensor, context: KeysValues, condition: Tensor) -> Tensor:
        """Keeps the shape (B, steps, width); `condition` (B, 1, width) is the embedded noise level."""
        offset = self.config.modulation_offset
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition).chunk(6, dim=-1)
        a = modulate(self.norm1(x), shift_a, scale_a, offset)
        x = x + (offset + gate_a) * self.residual_dropout(self.attention(a, causal=True))
        x = x + self.residual_dropout(self._read(self.norm3(x), context))
        m = modulate(self.norm2(x), shift_m, scale_m, offset)
        return x + (offset + gate_m) * self.dropout(self.mlp(m))

    def _read(self, x: Tensor, context: KeysValues) -> Tensor:
        """Attends to the context, of which several draws of noise one after the other in `x` may share one."""
        contexts = context.keys.shape[0]
        if self.config.causal_context:
            shared = KeysValues(*(t.repeat_interleave(x.shape[0] // contexts, 0) for t in context))
            return self.cross.attend(x, shared, causal=True)
        return self.cross.attend(x.reshape(contexts, -1, x.shape[-1]), context).reshape(x.shape)
