"""What runs the networks of the two halves: arrays in, arrays out. `DefiPolicy` is the same whatever the engine."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


class Words(NamedTuple):
    """An instruction as one half's text encoder sees it.

    Attributes:
        vectors: Word vectors, (1, words, text width).
        mask: True for real words, (1, words).
        pooled: One vector for all of it, (1, pooled width).
    """

    vectors: Float32Array
    mask: npt.NDArray[np.bool_]
    pooled: Float32Array


class ForwardEngine(Protocol):
    """Runs the GFDM."""

    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """The encoded words of `tokens` (1, words)."""
        ...

    def features(self, pixels: Float32Array, words: Words) -> Float32Array:
        """Features (cameras, frames, tokens, width) of `pixels` (1, cameras, 3, H, W) in -1..1."""
        ...

    def frames(self, features: Float32Array) -> Float32Array | None:
        """The images features stand for, (cameras, frames, 3, H, W) in about -1..1; None where they do not tell."""
        ...


class InverseEngine(Protocol):
    """Runs the GIDM, the video former and the action denoiser."""

    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """The encoded words of `tokens` (1, words)."""
        ...

    def actions(
        self,
        features: Float32Array,
        words: Words,
        proprioception: Float32Array,
        promised: Float32Array,
        weight: Float32Array,
    ) -> Float32Array:
        """Normalised actions (steps, action width).

        Args:
            features: The GFDM's, (cameras, frames, tokens, width).
            words: The instruction, encoded by this half.
            proprioception: Normalised arm state, (1, width).
            promised: Normalised actions the arm was promised, (1, steps, action width).
            weight: How far each holds, 0..1, (1, steps, 1).
        """
        ...
