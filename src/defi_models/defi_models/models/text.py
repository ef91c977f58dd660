"""Words to vectors: the small text encoder that stands where the base model has CLIP and T5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from defi_models.config import TextConfig
from defi_models.contract import ContractError
from defi_models.models.layers import Attention, FeedForward, sinusoid

PADDING, UNKNOWN = 0, 1


def words_of(instruction: str) -> list[str]:
    """The instruction's words in lower case, without punctuation."""
    return re.findall(r"[a-z0-9']+", instruction.lower())


def vocabulary(instructions: Iterable[str]) -> tuple[str, ...]:
    """Every word of `instructions`, sorted."""
    return tuple(sorted({word for instruction in instructions for word in words_of(instruction)}))


def tokenize(instruction: str, config: TextConfig) -> list[int]:
    """Token ids of an instruction, padded to `max_words`.

    Raises:
        ContractError: it has no words, or more than the encoder takes.
    """
    words = words_of(instruction)
    if not words:
        raise ContractError(f"instruction: got {instruction!r}, expected at least one word")
    if len(words) > config.max_words:
        raise ContractError(
            f"instruction: got {len(words)} words in {instruction!r}, expected at most {config.max_words}; say it shorter"
        )
    index = {word: i + 2 for i, word in enumerate(config.words)}
    return [index.get(word, UNKNOWN) for word in words] + [PADDING] * (config.max_words - len(words))


class TextEncoder(nn.Module):
    """Embeds the words of an instruction in context."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(config.words) + 2, config.width)
        self.blocks = nn.ModuleList(TextBlock(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def tokens(self, instructions: Sequence[str]) -> Tensor:
        """Token ids, (B, max_words)."""
        return torch.tensor([tokenize(text, self.config) for text in instructions])

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Word vectors (B, max_words, width) and the mask of real words (B, max_words)."""
        mask = tokens != PADDING
        positions = sinusoid(torch.arange(tokens.shape[1], device=tokens.device), self.config.width)
        x = self.embedding(tokens) + positions
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), mask

    def pooled(self, tokens: Tensor) -> Tensor:
        """One vector an instruction, (B, width): the mean over its words."""
        x, mask = self(tokens)
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


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
