"""Several datasets read as one, each chosen by its weight."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from defi_models.datasets.blocks import Blocks
from defi_models.datasets.frames import SERIES, Frames, Share
from defi_models.datasets.reading import DatasetError

ROUNDED = 0.01  # weights that are meant to have sum 1 may be rounded


def mixed(parts: Sequence[tuple[Frames, float | None]]) -> Frames:
    """Several datasets as one, each chosen by its weight.

    Args:
        parts: Datasets and their weights, 0..1; those without one share what is left by their number of samples.

    Raises:
        DatasetError: weights are out of range, leave nothing for those without, or sampling times differ.
    """
    weights = _weights(parts)
    if len(parts) == 1:
        return parts[0][0]
    frames = [one for one, _ in parts]
    steps = {one.step_ns for one in frames}
    if len(steps) != 1:
        raise DatasetError(f"mixed data: got steps {sorted(steps)} ns, expected one; sample all of them alike")
    encoded = [one.encoded for one in frames]
    makers = {one.autoencoder if one else "none" for one in encoded}
    if len(makers) != 1:
        raise DatasetError(f"mixed data: got latents of autoencoders {sorted(makers)}, expected one for all of them")
    starts = np.cumsum([0, *map(len, frames)])
    episodes = np.cumsum([0, *(len(one.tasks) for one in frames)])
    shares = [
        Share(one.folder, int(start), int(stop), weight)
        for one, start, stop, weight in zip(frames, starts[:-1], starts[1:], weights, strict=True)
    ]
    views = [one.views_of(np.arange(len(one))) for one in frames]
    for name in ("joint_positions", "target_joints"):
        width = max(getattr(one, name).shape[1] for one in frames)
        frames = [replace(one, **{name: _widened(getattr(one, name), width)}) for one in frames]
    return replace(
        frames[0],
        pixels=Blocks([one.pixels for one in frames]),
        episode=np.concatenate([one.episode + first for one, first in zip(frames, episodes, strict=False)]),
        last=np.concatenate([one.last + first for one, first in zip(frames, starts, strict=False)]),
        tasks=tuple(task for one in frames for task in one.tasks),
        instructions=tuple(texts for one in frames for texts in one.instructions),
        cameras=max((one.cameras for one in frames), key=len),
        views=np.concatenate(views),
        shares=tuple(shares),
        made_of=hashlib.sha256(" ".join(one.made_of for one in frames).encode()).hexdigest()[:16],
        encoded=encoded[0] and replace(encoded[0], latents=Blocks([one.latents for one in encoded if one])),
        **{name: np.concatenate([getattr(one, name) for one in frames]) for name in SERIES},
    )


def _widened(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Joints (N, width); not a number where they are not known."""
    return values if values.shape[1] == width else np.full((len(values), width), np.nan)


def _weights(parts: Sequence[tuple[Frames, float | None]]) -> list[float]:
    given = [weight for _, weight in parts if weight is not None]
    rest = 1.0 - sum(given)
    open_samples = sum(len(one) for one, weight in parts if weight is None)
    in_range = all(0 < weight <= 1 for weight in given)
    if not in_range or (rest < 1e-9 if open_samples else abs(rest) > ROUNDED):
        raise DatasetError(
            f"mixed data: got weights {given} for {len(given)} of {len(parts)} datasets, expected each in 0..1, with "
            "sum 1 if all have one and below 1 if not"
        )
    if not open_samples:
        return [float(weight or 0) / sum(given) for _, weight in parts]
    return [rest * len(one) / open_samples if weight is None else weight for one, weight in parts]
