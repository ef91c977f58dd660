"""A checkpoint that training goes on from: finetuning, and the published encoders that no stage here makes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO, Checkpoint, read_checkpoint
from defi_models.config import DefiConfig, PretrainedTextConfig, TextConfig
from defi_models.files import whole
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER

TOKENIZERS = (CLIP_TOKENIZER, T5_TOKENIZER)
AUTOENCODER = "gfdm.autoencoder."
GIDM_STAGE = ("gidm.", "text.")  # of the inverse half: what stage 2 leaves


@dataclass(frozen=True)
class Start:
    """Weights to begin with, by the names that stages give them.

    Attributes:
        folder: Of the checkpoint.
    """

    folder: Path

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What its folder says.

        Raises:
            CheckpointError: it is none.
        """
        return read_checkpoint(self.folder)

    def words(self) -> tuple[str, ...] | None:
        """Its vocabulary; None where it has pretrained tokenizers instead."""
        text = self.checkpoint.config.text
        return text.words if isinstance(text, TextConfig) else None

    def weights(self, stage: str) -> dict[str, Tensor]:
        """What `<stage>.safetensors` would hold, as float32.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        files = (INVERSE,) if stage in {"gidm", "policy"} else (FORWARD, VIDEO)
        present = [file for file in files if file in self.checkpoint.hashes]
        found = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for file in present or files
            for name, tensor in load_file(str(self.checkpoint.weights(file))).items()
        }
        if stage == "autoencoder":
            return {k.removeprefix(AUTOENCODER): v for k, v in found.items() if k.startswith(AUTOENCODER)}
        return {k: v for k, v in found.items() if stage != "gidm" or k.startswith(GIDM_STAGE)}

    def bring_tokenizers(self, out: Path) -> None:
        """Copies its tokenizers into a run, if it has some."""
        for name in TOKENIZERS:
            if name in self.checkpoint.hashes and not (out / name).is_file():
                with whole(out / name) as part:
                    shutil.copyfile(self.checkpoint.weights(name), part)


def tokenizer_files(config: DefiConfig, out: Path) -> dict[str, Path]:
    """The tokenizers that a policy of `config` carries, where they lie in a run."""
    return {name: out / name for name in TOKENIZERS} if isinstance(config.text, PretrainedTextConfig) else {}
