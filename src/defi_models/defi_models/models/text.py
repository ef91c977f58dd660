"""Words to vectors: the small text encoder that stands where the base model has CLIP and T5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from defi_models.config import PretrainedTextConfig, TextConfig
from defi_models.contract import ConfigError
from defi_models.models.layers import Attention, FeedForward, sinusoid
from defi_models.words import PADDING, tokenize

if TYPE_CHECKING:
    from defi_models.models.pretrained import ClipText, T5AndClipText


class Language(NamedTuple):
    """Encoded instructions.

    Attributes:
        words: Word vectors, (B, words, width).
        mask: True for real words, (B, words).
        pooled: One vector an instruction, (B, pooled width).
    """

    words: Tensor
    mask: Tensor
    pooled: Tensor


@contextmanager
def needs_base(what: str) -> Iterator[None]:
    """Around imports of the packages that only the paper's model needs.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"model: {what} needs diffusers and transformers, got {error}; `pip install -r requirements/base.txt`"
        ) from error


def text_encoder(
    config: TextConfig | PretrainedTextConfig, inverse: bool = False
) -> TextEncoder | ClipText | T5AndClipText:
    """The text encoder of the forward half, or of the `inverse` one."""
    if isinstance(config, TextConfig):
        return TextEncoder(config)
    with needs_base("a pretrained text encoder"):
        from defi_models.models.pretrained import ClipText, T5AndClipText
    return T5AndClipText(config) if inverse else ClipText(config)


class TextEncoder(nn.Module):
    """Embeds the words of an instruction in context."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.width = self.pooled_width = config.width
        self.embedding = nn.Embedding(len(config.words) + 2, config.width)
        self.blocks = nn.ModuleList(TextBlock(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def tokens(self, instructions: Sequence[str]) -> Tensor:
        """Token ids, (B, max_words)."""
        return torch.tensor([tokenize(text, self.config) for text in instructions])

    def forward(self, tokens: Tensor) -> Language:
        """Word vectors (B, max_words, width), the mask of real words (B, max_words), and their mean (B, width)."""
        mask = tokens != PADDING
        positions = sinusoid(torch.arange(tokens.shape[1], device=tokens.device), self.config.width)
        x = self.embedding(tokens) + positions
        for block in self.blocks:
            x = block(x, mask)
        words = self.norm(x)
        return Language(words, mask, (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class TextBlock(nn.Module):
    """Self-attention and feed-forward, each after a norm, each with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps (B, words, width) to the same shape; `mask` (B, words) is True for real words."""
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.feed_forward(self.norm2(x))
