"""Instructions to token ids, by a small vocabulary or by the tokenizers of the pretrained text encoders. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from defi_models.config import PretrainedTextConfig, TextConfig
from defi_models.contract import CheckpointError, ConfigError, ContractError

PADDING, UNKNOWN = 0, 1
CLIP_TOKENIZER, T5_TOKENIZER = "clip.tokenizer.json", "t5.tokenizer.json"
CLIP_MARKS = 2  # begin and end
T5_END = 1


class Tokenizer(Protocol):
    """Instructions to token ids, (B, tokens), padded to one length."""

    def __call__(self, instructions: Sequence[str]) -> npt.NDArray[np.int64]:
        """Raises ContractError when one has no words or is too long."""
        ...


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


def unknown_words(instruction: str, config: TextConfig | PretrainedTextConfig) -> list[str]:
    """The instruction's words that a model has never read, each once, in their order; none for pretrained encoders."""
    if isinstance(config, PretrainedTextConfig):
        return []
    return [word for word in dict.fromkeys(words_of(instruction)) if word not in config.words]


def check_known(instruction: str, config: TextConfig | PretrainedTextConfig) -> list[str]:
    """`unknown_words`, for a person to be told; all of them would mean nothing to the model, so that is refused.

    Raises:
        ContractError: the model knows no word of the instruction, or cannot take it (see `tokenize`).
    """
    unknown = unknown_words(instruction, config)
    if isinstance(config, TextConfig) and set(tokenize(instruction, config)) <= {UNKNOWN, PADDING}:
        raise ContractError(
            f"instruction: got {instruction!r}, of which the model knows no word, expected some of {list(config.words)}"
        )
    return unknown


class VocabularyTokenizer:
    """Whole words by their place in a vocabulary."""

    def __init__(self, config: TextConfig) -> None:
        self._config = config

    def __call__(self, instructions: Sequence[str]) -> npt.NDArray[np.int64]:
        """See `Tokenizer`."""
        return np.array([tokenize(text, self._config) for text in instructions], dtype=np.int64)


class PretrainedTokenizer:
    """CLIP's tokens and T5's tokens of an instruction side by side, from files in the format of Hugging Face `tokenizers`.

    Args:
        config: Sizes of the encoders.
        folder: Where `clip.tokenizer.json` and `t5.tokenizer.json` lie.

    Raises:
        CheckpointError: a file is missing, cannot be read, has another vocabulary, or is another model's.
        ConfigError: the package `tokenizers` is not installed.
    """

    def __init__(self, config: PretrainedTextConfig, folder: Path) -> None:
        self._config = config
        self._clip = _read(folder / CLIP_TOKENIZER, config.clip_vocabulary)
        self._t5 = _read(folder / T5_TOKENIZER, config.t5_vocabulary)
        end = config.clip_vocabulary - 1
        for path, found, marks in (
            (folder / CLIP_TOKENIZER, self._clip, (end - 1, end)),
            (folder / T5_TOKENIZER, self._t5, (T5_END,)),
        ):
            ids = found.encode("open").ids
            if tuple(ids[:1] + ids[-1:])[-len(marks) :] != marks:
                raise CheckpointError(
                    f"{path}: got the tokens {ids} for 'open', expected them to {'begin and ' * (len(marks) > 1)}end with "
                    f"{' and '.join(map(str, marks))}; it is another model's tokenizer"
                )

    def __call__(self, instructions: Sequence[str]) -> npt.NDArray[np.int64]:
        """See `Tokenizer`; the text goes in as it is, case and all (defi-model 6.3, 16)."""
        end = self._config.clip_vocabulary - 1
        clip, t5 = [], []
        for text in instructions:
            ids, words = self._clip.encode(text).ids, self._t5.encode(text).ids
            if len(ids) <= CLIP_MARKS or not text.strip():
                raise ContractError(f"instruction: got {text!r}, expected at least one word")
            if len(ids) > self._config.max_words or len(words) > self._config.t5_max_words:
                raise ContractError(
                    f"instruction: got {len(ids)} tokens for CLIP and {len(words)} for T5 in {text!r}, expected at most "
                    f"{self._config.max_words} and {self._config.t5_max_words}; say it shorter"
                )
            clip.append(ids + [end] * (self._config.max_words - len(ids)))
            t5.append(words)
        longest = max(map(len, t5))
        padded = [words + [PADDING] * (longest - len(words)) for words in t5]
        return np.concatenate([np.array(clip, dtype=np.int64), np.array(padded, dtype=np.int64)], axis=1)


def tokenizer_of(config: TextConfig | PretrainedTextConfig, folder: Path) -> Tokenizer:
    """The tokenizer of a model whose checkpoint lies in `folder`."""
    if isinstance(config, TextConfig):
        return VocabularyTokenizer(config)
    return PretrainedTokenizer(config, folder)


def _read(path: Path, vocabulary: int) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            f"{path.name}: needs the package `tokenizers`; `pip install -r requirements/base.txt`"
        ) from error
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: pretrained text encoders need their tokenizers; copy the whole folder"
        )
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path}: {error}; expected a tokenizer.json of Hugging Face `tokenizers`") from error
    if found.get_vocab_size() > vocabulary:
        raise CheckpointError(f"{path}: got {found.get_vocab_size()} tokens, expected at most {vocabulary}")
    found.no_padding()
    found.no_truncation()
    return found
