"""Arrays one after another on disk, read as if they were one; nothing is copied until rows are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Rows(Protocol):
    """What reads like an array (N, cameras, ...) by rows and cameras."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, cameras, ...)."""
        ...

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        """Items at `rows, cameras`, which are broadcast against each other."""
        ...


class Blocks:
    """Several arrays (n, cameras, ...) as one; those with fewer cameras lack the last ones.

    Args:
        arrays: In order; equal but for the first two dimensions.

    Raises:
        ValueError: they differ in type or in the shape of an item, or there is none.
    """

    def __init__(self, arrays: Sequence[Rows | npt.NDArray[Any]]) -> None:
        kinds = {(np.asarray(a[:0]).dtype, a.shape[2:]) for a in arrays}
        if len(kinds) != 1:
            raise ValueError(f"got arrays of {sorted(map(str, kinds))}, expected one kind")
        self.dtype, self._item = kinds.pop()
        self._arrays = list(arrays)
        self._starts = np.cumsum([0, *(a.shape[0] for a in arrays)])
        self._cameras = max(a.shape[1] for a in arrays)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, most cameras, ...)."""
        return int(self._starts[-1]), self._cameras, *self._item

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Items at `rows, cameras`; a slice of rows alone gives all cameras and must not leave one array's cameras.

        Raises:
            IndexError: a row lacks a camera asked for.
        """
        if isinstance(key, slice):
            rows = np.arange(*key.indices(self.shape[0]))
            return self[rows[:, None], np.arange(self._cameras)[None]]
        rows, cameras = np.broadcast_arrays(*key)
        found = np.empty((*rows.shape, *self._item), self.dtype)
        block = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(block):
            here = block == number
            found[here] = self._arrays[number][rows[here] - self._starts[number], cameras[here]]
        return found
