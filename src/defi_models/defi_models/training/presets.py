"""Sizes and schedules by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from defi_models.config import DecoderConfig, DefiConfig, TextConfig
from defi_models.contract import ConfigError

STAGES = ("autoencoder", "gfdm", "gidm", "policy")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one stage trains.

    Attributes:
        steps: Optimiser steps.
        batch: Samples a step.
        learning_rate: Peak; warmed up over 3 % of the steps, then a cosine to a tenth.
        weight_decay: Of AdamW.
        ema: Decay of the averaged weights, which are the ones kept; shorter at the start.
        gradient_norm: Gradients are clipped to it.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    ema: float = 0.998
    gradient_norm: float = 1.0


@dataclass(frozen=True)
class Preset:
    """A model and how its stages are trained.

    Attributes:
        name: Its name.
        model: The model for a vocabulary (the words of the training data).
        schedules: One for each of `STAGES`.
        windows: Windows of which the policy stage computes and keeps features (the GFDM is frozen there).
    """

    name: str
    model: Callable[[tuple[str, ...]], DefiConfig]
    schedules: Mapping[str, Schedule]
    windows: int


def nano(words: tuple[str, ...]) -> DefiConfig:
    """The size that runs on two CPU cores.

    Five sampling steps from level 10 err as little on held-out demonstrations as ten from 80, in half the time.
    """
    return DefiConfig(text=TextConfig(words=words), decoder=DecoderConfig(sigma_max=10.0, sampling_steps=5))


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="nano",
            model=nano,
            schedules={
                "autoencoder": Schedule(steps=900, batch=32, learning_rate=2e-3, weight_decay=0.0),
                "gfdm": Schedule(steps=1800, batch=16, learning_rate=1e-3),
                "gidm": Schedule(steps=800, batch=32, learning_rate=1e-3),
                "policy": Schedule(steps=4000, batch=48, learning_rate=1e-3),
            },
            windows=16_000,
        ),
        Preset(
            name="test",
            model=nano,
            schedules={
                "autoencoder": Schedule(steps=4, batch=4, learning_rate=1e-3),
                "gfdm": Schedule(steps=4, batch=2, learning_rate=1e-3),
                "gidm": Schedule(steps=4, batch=2, learning_rate=1e-3),
                "policy": Schedule(steps=4, batch=2, learning_rate=1e-3),
            },
            windows=16,
        ),
    )
}


def preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: there is none; the nearest and all names are offered.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no training preset {name!r}.{hint} Known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
