"""The few blocks that every network of DeFI is built from; a network is a function of its inputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeysValues(NamedTuple):
    """What attention reads, each (N, heads, K, head width)."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention from `x` to `context` (itself if absent); no norm, no residual.

    Args:
        width: Width of `x` and of the result.
        heads: Number of heads.
        head_width: Width of one head; width / heads if absent.
        qkv_bias: Whether queries, keys and values have a bias.
        out_bias: Whether the output projection has one.
        dropout: Of the attention weights, in training only.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int | None = None,
        qkv_bias: bool = False,
        out_bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner = heads * (head_width or width // heads)
        self.heads = heads
        self.dropout = dropout
        self.to_q = nn.Linear(width, inner, bias=qkv_bias)
        self.to_k = nn.Linear(width, inner, bias=qkv_bias)
        self.to_v = nn.Linear(width, inner, bias=qkv_bias)
        self.to_out = nn.Linear(inner, width, bias=out_bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attends.

        Args:
            x: Queries, (N, Q, width).
            context: Keys and values, (N, K, width).
            mask: True where a key may be seen, (N, K).
            causal: Query i sees keys 0..i only (top-left triangle, also where Q != K).
        """
        return self.attend(x, self.project(x if context is None else context), mask, causal)

    def project(self, context: Tensor) -> KeysValues:
        """Keys and values of `context` (N, K, width), for queries that come more than once."""
        return KeysValues(self._split(self.to_k(context)), self._split(self.to_v(context)))

    def attend(self, x: Tensor, context: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """`forward` on a context that is projected already."""
        q, k, v = self._split(self.to_q(x)), *context
        allowed = None if mask is None else mask[:, None, None, :]
        plain = q.device.type == "cpu" and q.dtype == torch.bfloat16
        if causal and (plain or q.shape[2] != k.shape[2]):
            # Where Q != K, kernels disagree on which corner the triangle starts from (defi-model 6.3, 23).
            allowed, causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device).tril(), False
        dropped = self.dropout if self.training else 0.0
        # (N, heads, Q, head width)
        if plain:
            y = plain_attention(q, k, v, allowed, dropped)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropped, is_causal=causal)
        return self.to_out(y.transpose(1, 2).flatten(2))

    def _split(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropped: float) -> Tensor:
    """What torch's fused attention computes, whose gradients take eight times as long in bf16 on CPUs (torch 2.13)."""
    weights = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if allowed is not None:
        weights = weights.masked_fill(~allowed, -math.inf)
    return F.dropout(weights.softmax(-1), dropped).to(v.dtype) @ v


class FeedForward(nn.Module):
    """Linear, GELU, Linear; `expansion` times as wide inside; no norm, no residual."""

    def __init__(self, width: int, expansion: int = 4, bias: bool = True) -> None:
        super().__init__()
        self.expand = nn.Linear(width, expansion * width, bias=bias)
        self.contract = nn.Linear(expansion * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., width) to (..., width)."""
        return self.contract(F.gelu(self.expand(x)))


def projector(width_in: int, width: int, hidden: int | None = None) -> nn.Sequential:
    """Linear, GELU, Linear: how features of one network enter another (`goal_emb`, `lang_emb` of the paper's code)."""
    hidden = hidden or width
    return nn.Sequential(nn.Linear(width_in, hidden), nn.GELU(), nn.Linear(hidden, width))


def sinusoid(positions: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sine-cosine embedding [sin | cos] of `positions` (...,) as (..., width)."""
    half = width // 2
    places = torch.arange(half, device=positions.device, dtype=torch.float32)
    frequencies = torch.exp(-math.log(max_period) * places / max(half - 1, 1))
    angles = positions[..., None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def interleaved_sinusoid(positions: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """The embedding of Vaswani et al. 2017 (3.5), sines and cosines alternating, of `positions` (...,) as (..., width)."""
    places = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * torch.exp(-math.log(max_period) * places / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, offset: float) -> Tensor:
    """Shift + x * (offset + scale). The paper's code uses offset 0 (defi-model 6.3, 2); the usual choice is 1."""
    return shift + x * (offset + scale)
