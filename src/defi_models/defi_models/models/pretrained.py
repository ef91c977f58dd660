"""The paper's frozen encoders of text and images, on the modules of transformers: CLIP's and T5's text, DINOv2's patches.

Token ids of an instruction are [CLIP's | T5's] side by side, so that one array serves both halves of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    T5Config,
    T5EncoderModel,
)
from typing_extensions import Self

from defi_models.config import DinoConfig, PretrainedTextConfig
from defi_models.contract import CheckpointError
from defi_models.models.text import Language
from defi_models.words import PADDING, Tokenizer

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as DINOv2 was trained


class Frozen(nn.Module):
    """An encoder that stays as it was published: without gradient, and without dropout while the rest trains."""

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode (the paper's code leaves T5's dropout on; defi-model 6.3, 14)."""
        return super().train(False)

    def freeze(self) -> None:
        """Called at the end of construction."""
        self.requires_grad_(False).eval()

    def _added(self, seen: Tensor) -> Tensor:
        """A mask as the library adds it to attention: made here, so that no value of it is looked at on the way."""
        dtype = next(self.parameters()).dtype
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


class ClipText(Frozen):
    """CLIP's text encoder: word vectors for the GFDM, a pooled vector for the action decoder (defi-model 2.2, 4.3)."""

    def __init__(self, config: PretrainedTextConfig) -> None:
        super().__init__()
        self.config = config
        self.width = self.pooled_width = config.clip_width
        self.tokenizer: Tokenizer | None = None
        end = config.clip_vocabulary - 1
        self.clip = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=config.clip_vocabulary,
                hidden_size=config.clip_width,
                intermediate_size=4 * config.clip_width,
                projection_dim=config.clip_width,
                num_hidden_layers=config.clip_depth,
                num_attention_heads=config.clip_heads,
                max_position_embeddings=config.clip_positions,
                bos_token_id=end - 1,
                eos_token_id=end,
                pad_token_id=end,
            )
        )
        # Places are given in each call; a table of them would be the one thing here that no checkpoint fills.
        self.clip.text_model.embeddings.register_buffer("position_ids", None, persistent=False)
        self.freeze()

    def tokens(self, instructions: Sequence[str]) -> Tensor:
        """Token ids, (B, words)."""
        return torch.from_numpy(_tokenizer(self)(instructions))

    def forward(self, tokens: Tensor) -> Language:
        """CLIP's word vectors (B, max_words, clip_width), the mask of real words, and the pooled vector (B, clip_width)."""
        ids = tokens[:, : self.config.max_words]
        places = torch.arange(ids.shape[1], device=ids.device)
        ends = (ids == self.config.clip_vocabulary - 1).int().argmax(-1)  # the first end mark; the others pad
        mask = places <= ends[:, None]
        seen = mask[:, None] & (places <= places[:, None])  # (B, words, words): causal, as CLIP's text is
        found = self.clip(input_ids=ids, attention_mask=self._added(seen[:, None]), position_ids=places[None])
        return Language(found.last_hidden_state, mask, found.text_embeds)


class T5AndClipText(Frozen):
    """T5's encoder for the GIDM's words, CLIP's pooled vector for the language token of the action decoder."""

    def __init__(self, config: PretrainedTextConfig) -> None:
        super().__init__()
        self.config = config
        self.width, self.pooled_width = config.t5_width, config.clip_width
        self.tokenizer: Tokenizer | None = None
        self.clip_text = ClipText(config)
        # The stack alone: the model around it would hold the same embedding under a second name.
        whole = T5EncoderModel(
            T5Config(
                vocab_size=config.t5_vocabulary,
                d_model=config.t5_width,
                d_kv=config.t5_width // config.t5_heads,
                d_ff=4 * config.t5_width,
                num_layers=config.t5_depth,
                num_heads=config.t5_heads,
                pad_token_id=PADDING,
            )
        )
        self.t5 = whole.encoder
        self.freeze()

    def tokens(self, instructions: Sequence[str]) -> Tensor:
        """Token ids, (B, words)."""
        return torch.from_numpy(_tokenizer(self)(instructions))

    def forward(self, tokens: Tensor) -> Language:
        """T5's word vectors (B, words, t5_width), the mask of real words, and CLIP's pooled vector (B, clip_width)."""
        ids = tokens[:, self.config.max_words :]
        mask = ids != PADDING
        words = self.t5(input_ids=ids, attention_mask=self._added(mask[:, None, None])).last_hidden_state
        return Language(words, mask, self.clip_text(tokens).pooled)


class Dino(Frozen):
    """DINOv2 with registers: an image to patch features (defi-model 3.1)."""

    def __init__(self, config: DinoConfig) -> None:
        super().__init__()
        self.config = config
        self.dino = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                mlp_ratio=4,
                image_size=config.table_size,
                patch_size=config.patch,
                num_register_tokens=config.registers,
            )
        )
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised patch features (N, patches, width) of `images` (N, 3, H, W) in -1..1, resized to `image_size`."""
        size = self.config.image_size
        resized = nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        found = self.dino(pixel_values=((resized + 1) / 2 - mean) / std).last_hidden_state
        return found[:, 1 + self.config.registers :]  # without the class token and the registers


def _tokenizer(encoder: ClipText | T5AndClipText) -> Tokenizer:
    if encoder.tokenizer is None:
        raise CheckpointError(
            "text encoder: got no tokenizer files; CLIP's and T5's come with the checkpoint as *.tokenizer.json"
        )
    return encoder.tokenizer
