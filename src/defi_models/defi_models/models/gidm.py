"""GIDM, the General Inverse Dynamics Model: which latent action lies between two frames.

A latent-action model as in UniVLA's first stage (defi-model 3): learned queries read two frames and the instruction,
attend causally over time, and are quantised to a few codes. In pretraining a decoder must rebuild the second frame from
the first and the codes alone, so the codes come to mean motion. In the policy the frames are the GFDM's features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defi_models.config import GidmConfig
from defi_models.models.layers import Attention, FeedForward, interleaved_sinusoid, sinusoid


class LatentActions(NamedTuple):
    """What the encoder found between two frames.

    Attributes:
        quantized: Codebook vectors, gradient passed straight through, (B, queries, code_width).
        indices: Their codes, (B, queries).
        loss: Codebook loss + 0.25 x commitment loss, scalar (defi-model 3.1).
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor


class VectorQuantizer(nn.Module):
    """Nearest codebook entry by Euclidean distance; the codebook learns by gradient, without moving averages."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codebook = nn.Embedding(codes, width)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)

    def forward(self, x: Tensor) -> LatentActions:
        """Quantises (B, queries, width)."""
        codebook = self.codebook.weight
        # |x - c|^2 without |x|^2, which is the same for every code c.
        indices = (codebook.square().sum(-1) - 2 * x @ codebook.T).argmin(-1)
        z = self.codebook(indices)
        loss = F.mse_loss(z, x.detach()) + 0.25 * F.mse_loss(x, z.detach())
        return LatentActions(x + (z - x).detach(), indices, loss)

    @torch.no_grad()
    def restart_dead(self, usage: Tensor, samples: Tensor) -> int:
        """Moves codes never used (`usage` (codes,) is 0) onto encoder outputs, the first of `samples` (N, width)."""
        dead = (usage == 0).nonzero().flatten()[: len(samples)]
        self.codebook.weight[dead] = samples[: len(dead)]
        return len(dead)


class Block(nn.Module):
    """Attention within a frame, causal attention over the two frames if `temporal`, feed-forward; pre-norm, residual."""

    def __init__(self, width: int, heads: int, temporal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.spatial_attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width) if temporal else None
        self.temporal_attn = Attention(width, heads) if temporal else None
        self.norm3 = nn.LayerNorm(width)
        self.ffn = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor, kept: int | None = None) -> Tensor:
        """Maps (B, T, tokens, width) to the same shape, or to the first `kept` tokens of each frame alone.

        Args:
            x: Tokens.
            mask: True for real tokens, (B, tokens).
            kept: Tokens whose result somebody reads; all if absent. The others are still attended to.
        """
        count, frames = x.shape[:2]
        seen = mask.repeat_interleave(frames, dim=0)  # (B, T) order: defi-model 6.3, 9
        y = self.norm1(x).flatten(0, 1)  # (B * T, tokens, width)
        attended = self.spatial_attn(y[:, :kept], y, mask=seen)
        x = x[:, :, :kept] + attended.unflatten(0, (count, frames))
        tokens = x.shape[2]
        if self.temporal_attn is not None and self.norm2 is not None:
            y = self.norm2(x).transpose(1, 2).flatten(0, 1)  # (B * tokens, T, width)
            x = x + self.temporal_attn(y, causal=True).unflatten(0, (count, tokens)).transpose(1, 2)
        return x + self.ffn(self.norm3(x))


class Stem(nn.Module):
    """Norm, Linear, norm, then the position of each token within its frame."""

    def __init__(self, width: int, interleaved: bool) -> None:
        super().__init__()
        self.embed = interleaved_sinusoid if interleaved else sinusoid
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., tokens, width) to the same shape."""
        return self.body(x) + self.embed(torch.arange(x.shape[-2], device=x.device), x.shape[-1])


class Gidm(nn.Module):
    """Two frames of tokens and an instruction to latent actions.

    Args:
        config: Its size.
        text_width: Width of the word vectors it is given.
    """

    def __init__(self, config: GidmConfig, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.action_latent = nn.Parameter(torch.empty(1, 1, config.queries, config.width).uniform_(-1, 1))
        self.stem = Stem(config.width, config.interleaved_positions)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, temporal=True) for _ in range(config.depth))
        self.lang_proj = nn.Linear(text_width, config.width)
        self.to_codebook = nn.Linear(config.width, config.code_width)
        self.vq = VectorQuantizer(config.codes, config.code_width)
        self.action_up = nn.Linear(config.code_width, config.width)

    def encode(
        self, frames: Tensor, words: Tensor, mask: Tensor, *, with_words: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latent actions before quantisation, with the words in the context of the second frame.

        Args:
            frames: Tokens of the present and of the future frame, (B, 2, tokens, width).
            words: Word vectors, (B, words, text width).
            mask: True for real words, (B, words).
            with_words: Whether the words are wanted. Without them the last block computes the queries alone, which is
                exact (defi-model 5.2) and nearly halves the cost of a GIDM of two blocks.

        Returns:
            Latent actions (B, queries, code_width), words (B, words, width) or none of them, and the mask
            (B, queries + tokens + words).
        """
        count = frames.shape[0]
        x = self.stem(torch.cat([self.action_latent.expand(count, 2, -1, -1), frames], dim=2))
        text = self.lang_proj(words)[:, None].expand(-1, 2, -1, -1)
        seen = torch.cat([mask.new_ones(count, x.shape[2]), mask], dim=1)
        length = x.shape[2]
        x = torch.cat([x, text], dim=2)
        for number, block in enumerate(self.blocks, start=1):
            last = number == len(self.blocks) and not with_words
            x = block(x, seen, kept=self.config.queries if last else None)
        return self.to_codebook(x[:, 1, : self.config.queries]), x[:, 1, length:], seen

    def forward(self, frames: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, LatentActions]:
        """Latent motion tokens (B, queries, width) and what they were quantised to."""
        actions = self.vq(self.encode(frames, words, mask, with_words=False)[0])
        return self.action_up(actions.quantized), actions


class GidmPretraining(nn.Module):
    """The GIDM with what it learns by: patches in, and a decoder that rebuilds the future frame from the codes.

    Args:
        gidm: The model to train.
        patch_width: Width of a frame's patch tokens (autoencoder latents for nano, DINOv2 features for base).
    """

    def __init__(self, gidm: Gidm, patch_width: int) -> None:
        super().__init__()
        width = gidm.config.width
        self.gidm = gidm
        # As in the paper's code, patches that are as wide as tokens enter as they are.
        self.patch_in = nn.Identity() if patch_width == width else nn.Linear(patch_width, width)
        self.patch_up = nn.Linear(patch_width, width)
        self.stem = Stem(width, gidm.config.interleaved_positions)
        self.blocks = nn.ModuleList(Block(width, gidm.config.heads, temporal=False) for _ in range(gidm.config.depth))
        self.out = nn.Linear(width, patch_width)

    def forward(self, patches: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, LatentActions]:
        """The rebuilt future frame (B, tokens, patch_width) from `patches` (B, 2, tokens, patch_width), and the codes."""
        encoded, text, seen = self.gidm.encode(self.patch_in(patches), words, mask)
        actions = self.gidm.vq(encoded)
        x = torch.cat([self.gidm.action_up(actions.quantized), self.patch_up(patches[:, 0])], dim=1)
        length = x.shape[1]
        x = torch.cat([self.stem(x), text], dim=1)[:, None]  # (B, 1, tokens, width)
        for block in self.blocks:
            x = block(x, seen)
        return self.out(x[:, 0, self.gidm.config.queries : length]), actions
