"""The paper's policy written down from its description (defi-model 3 and 4), on weights under their official names.

Slow and literal on purpose: the context is read anew in every step, masks are made where the paper's code makes them.
It shares no module with the project, so that both agreeing says something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defi_models.config import DefiConfig


@dataclass(frozen=True)
class Reference:
    """Official name -> tensor, and the numbers that no shape tells."""

    state: Mapping[str, Tensor]
    config: DefiConfig

    def actions(self, features: Tensor, sentence: Tensor, words: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
        """Actions (B, steps, 7) of features (B, cameras, frames, tokens, width), CLIP's vector and T5's words."""
        motion = self.motion(features, words, mask)
        video = self.video_former(torch.cat(list(features.unbind(1)), dim=2))
        levels = torch.exp(torch.linspace(math.log(80.0), math.log(1.0), 10)).tolist()
        x = noise * 80.0
        for sigma, following in zip(levels, [*levels[1:], 0.0], strict=True):
            clean = self.denoise(x, sigma, sentence, video, motion)
            if following == 0.0:
                return clean
            x = (following / sigma) * x - math.expm1(-math.log(sigma / following)) * clean
        raise AssertionError("the last level is 0")

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A linear layer, with or without bias."""
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """A layer norm, with or without bias."""
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), 1e-5)

    def project(self, name: str, x: Tensor) -> Tensor:
        """Linear, GELU, Linear."""
        return self.linear(f"{name}.2", F.gelu(self.linear(f"{name}.0", x)))

    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, added: Tensor | float = 0.0) -> Tensor:
        """Attention of (N, Q, inner) to (N, K, inner); `added` goes onto the logits."""
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + added).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    def motion(self, features: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Latent motion tokens (B, queries, width): the static camera's frames 0 and 5 through the latent-action model."""
        frames = torch.stack([features[:, 0, 0], features[:, 0, 5]], dim=1)
        x = self.project("goal_emb", frames) + self.state["time_pos_emb"]
        queries = self.state["lam.action_latent"].expand(len(x), 2, -1, -1)
        x = torch.cat([queries, x], dim=2)
        stem = "lam.encoder.ffn"
        x = self.norm(f"{stem}.2", self.linear(f"{stem}.1", self.norm(f"{stem}.0", x)))
        x = x + self.alternating_sinusoid(x.shape[2], x.shape[3])
        text = self.linear("lam.lang_proj", words)[:, None].expand(-1, 2, -1, -1)
        x = torch.cat([x, text], dim=2)
        hidden = torch.cat([torch.zeros(len(x), x.shape[2] - mask.shape[1], dtype=torch.bool), ~mask], dim=1)
        for layer in range(self.config.gidm.depth):
            x = self.gidm_block(f"lam.encoder.transformer_blocks.{layer}", x, hidden)
        found = self.linear("lam.to_codebook", x[:, 1, : queries.shape[2]])
        codebook = self.state["lam.vq.codebook.weight"]
        nearest = (found[:, :, None] - codebook).norm(dim=-1).argmin(-1)
        return self.linear("lam.action_up", codebook[nearest])

    def gidm_block(self, name: str, x: Tensor, hidden: Tensor) -> Tensor:
        """Space, time, feed-forward."""
        heads, (count, frames, tokens, _) = self.config.gidm.heads, x.shape
        never = torch.finfo(x.dtype).min

        def attention(part: str, y: Tensor, added: Tensor) -> Tensor:
            q, k, v = (self.linear(f"{name}.{part}.to_{letter}", y) for letter in "qkv")
            return self.linear(f"{name}.{part}.to_out.0", self.attend(q, k, v, heads, added))

        added = (hidden.repeat_interleave(frames, 0)[:, None, None] * never).to(x)
        x = x + attention("spatial_attn", self.norm(f"{name}.norm1", x).flatten(0, 1), added).unflatten(
            0, (count, frames)
        )
        y = self.norm(f"{name}.norm2", x).transpose(1, 2).flatten(0, 1)
        future = torch.full((frames, frames), never).triu(1)
        x = x + attention("temporal_attn", y, future).unflatten(0, (count, tokens)).transpose(1, 2)
        return x + self.linear(f"{name}.ffn.3", F.gelu(self.linear(f"{name}.ffn.0", self.norm(f"{name}.norm3", x))))

    @staticmethod
    def alternating_sinusoid(tokens: int, width: int) -> Tensor:
        """Vaswani's positions, one number at a time."""
        return torch.tensor(
            [
                [(math.cos if i % 2 else math.sin)(p / 10_000 ** ((i - i % 2) / width)) for i in range(width)]
                for p in range(tokens)
            ]
        )

    def video_former(self, features: Tensor) -> Tensor:
        """Video tokens (B, frames * queries, width) of features (B, frames, tokens, width)."""
        name, heads = "Video_Former", self.config.decoder.heads
        media = self.project(f"{name}.goal_emb", features) + self.state[f"{name}.time_pos_emb"]
        x = self.state[f"{name}.latents"].expand(len(features), -1, -1, -1)
        frames = x.shape[1]
        for layer in range(self.config.decoder.former_depth):
            part = f"{name}.layers.{layer}"
            latents = self.norm(f"{part}.0.norm_latents", x)
            read = torch.cat([self.norm(f"{part}.0.norm_media", media), latents], dim=2).flatten(0, 1)
            q = self.linear(f"{part}.0.to_q", latents.flatten(0, 1))
            k, v = (self.linear(f"{part}.0.to_{letter}", read) for letter in "kv")
            x = x + self.linear(f"{part}.0.to_out", self.attend(q, k, v, heads)).unflatten(0, x.shape[:2])
            y = x.transpose(1, 2).flatten(0, 1)  # no norm before attention over time
            q, k, v = self.linear(f"{part}.1.qkv", y).chunk(3, dim=-1)
            ones = torch.ones(frames, frames)  # a float mask: added, so without effect
            y = self.linear(f"{part}.1.proj", self.attend(q, k, v, heads, ones))
            x = x + y.unflatten(0, (len(x), -1)).transpose(1, 2)
            y = self.norm(f"{part}.2.0", x)
            x = x + self.linear(f"{part}.2.3", F.gelu(self.linear(f"{part}.2.1", y)))
        return self.norm(f"{name}.norm", x).flatten(1, 2)

    def denoise(self, noisy: Tensor, sigma: float, sentence: Tensor, video: Tensor, motion: Tensor) -> Tensor:
        """The EDM wrap around the diffusion transformer."""
        name, data = "model.inner_model", 0.25
        context = torch.cat(
            [
                self.project(f"{name}.lang_emb", sentence)[:, None],
                self.linear(f"{name}.tok_emb", video),
                self.linear(f"{name}.tok_emb_token", motion),
            ],
            dim=1,
        )
        for layer in range(self.config.decoder.encoder_depth):
            part = f"{name}.encoder.blocks.{layer}"
            context = context + self.self_attention(f"{part}.attn", self.norm(f"{part}.ln_1", context))
            context = context + self.mlp(part, self.norm(f"{part}.ln_2", context))
        context = self.norm(f"{name}.encoder.ln", context)
        root = math.sqrt(sigma**2 + data)
        predicted = self.decode(f"{name}", noisy / root, sigma, context)
        return predicted * sigma * math.sqrt(data) / root + noisy * data / (sigma**2 + data)

    def decode(self, name: str, x: Tensor, sigma: float, context: Tensor) -> Tensor:
        """The decoder."""
        width = self.config.decoder.width
        k = torch.arange(width // 2) * -math.log(10_000) / (width // 2 - 1)
        angles = math.log(sigma) / 4 * k.exp()
        level = torch.cat([angles.sin(), angles.cos()])[None]
        level = self.linear(f"{name}.sigma_emb.3", F.mish(self.linear(f"{name}.sigma_emb.1", level)))
        x = self.linear(f"{name}.action_emb", x)
        for layer in range(self.config.decoder.decoder_depth):
            part = f"{name}.decoder.blocks.{layer}"
            six = self.linear(f"{part}.adaLN_zero.modulation.1", F.silu(level)).chunk(6, dim=-1)
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six
            y = shift_a + self.norm(f"{part}.ln_1", x) * scale_a
            x = x + gate_a * self.self_attention(f"{part}.attn", y, causal=True)
            q = self.linear(f"{part}.cross_att.query", self.norm(f"{part}.ln3", x))
            key, value = (self.linear(f"{part}.cross_att.{what}", context) for what in ("key", "value"))
            attended = self.attend(q, key, value, self.config.decoder.heads, self.later(q.shape[1], key.shape[1]))
            x = x + self.linear(f"{part}.cross_att.c_proj", attended)
            x = x + gate_m * self.mlp(part, shift_m + self.norm(f"{part}.ln_2", x) * scale_m)
        return self.linear(f"{name}.action_pred", self.norm(f"{name}.decoder.ln", x))

    def self_attention(self, name: str, x: Tensor, causal: bool = False) -> Tensor:
        """Attention of the denoiser to itself."""
        q, k, v = (self.linear(f"{name}.{what}", x) for what in ("query", "key", "value"))
        added = self.later(x.shape[1], x.shape[1]) if causal else 0.0
        return self.linear(f"{name}.c_proj", self.attend(q, k, v, self.config.decoder.heads, added))

    def mlp(self, name: str, x: Tensor) -> Tensor:
        """Feed-forward of the denoiser."""
        return self.linear(f"{name}.mlp.c_proj", F.gelu(self.linear(f"{name}.mlp.c_fc", x)))

    @staticmethod
    def later(queries: int, keys: int) -> Tensor:
        """Hides keys after i from query i: the top-left triangle (defi-model 4.3)."""
        return torch.full((queries, keys), torch.finfo(torch.float32).min).triu(1)
