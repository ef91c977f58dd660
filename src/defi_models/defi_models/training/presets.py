"""Sizes and schedules by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from defi_models.config import (
    AutoencoderConfig,
    DecoderConfig,
    DefiConfig,
    DinoConfig,
    GfdmConfig,
    GidmConfig,
    PretrainedTextConfig,
    SvdAutoencoderConfig,
    SvdConfig,
    TextConfig,
)
from defi_models.contract import ConfigError
from defi_models.kinds import with_fields

STAGES = ("autoencoder", "gfdm", "gidm", "policy")
# As in the paper (defi-model 0): the autoencoder once it is made, and the whole GFDM while the policy is trained.
FROZEN: Mapping[str, tuple[str, ...]] = {"gfdm": ("forward.gfdm.autoencoder",), "policy": ("forward",)}
FROZEN_NOTHING: Mapping[str, tuple[str, ...]] = {  # the paper's ablation "all" (defi-model 1.6, table 9)
    "gfdm": ("forward.gfdm.autoencoder",),
    "policy": ("forward.gfdm.autoencoder",),
}


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
        accumulate: Passes that a batch is computed in, to fit into memory; the result is the same.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    ema: float = 0.998
    gradient_norm: float = 1.0
    accumulate: int = 1


@dataclass(frozen=True)
class Preset:
    """A model and how its stages are trained.

    Attributes:
        name: Its name.
        model: The model for a vocabulary (the words of the training data).
        schedules: One for each of `STAGES` that it trains; weights of the others are imported.
        windows: Windows that the policy stage learns from; it computes and keeps their features if the GFDM is frozen.
        noise_draws: Draws of noise that the policy stage sees of a window in one step; one in the paper's code.
        frozen: Stage -> what it does not train: beginnings of parameter names, where "forward" is the half with the
            GFDM and "inverse" the other.
    """

    name: str
    model: Callable[[tuple[str, ...]], DefiConfig]
    schedules: Mapping[str, Schedule]
    windows: int
    noise_draws: int = 1
    frozen: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: FROZEN)


def nano(words: tuple[str, ...]) -> DefiConfig:
    """The size that runs on two CPU cores.

    Latents have twice SVD's channels: with four, blocks of a few pixels blur. Five sampling steps from level 10 err as
    little on held-out demonstrations as ten from 80, in half the time.
    """
    return DefiConfig(
        text=TextConfig(words=words),
        autoencoder=AutoencoderConfig(latent_channels=8),
        decoder=DecoderConfig(sigma_max=10.0, sampling_steps=5),
    )


def small(words: tuple[str, ...]) -> DefiConfig:
    """Between `nano` and `base`: a tenth of a billion weights, for one workstation GPU."""
    return DefiConfig(
        text=TextConfig(words=words, max_words=20, width=256, depth=4, heads=8),
        autoencoder=AutoencoderConfig(channels=(64, 128, 256)),
        gfdm=GfdmConfig(image_size=160, frames=6, width=512, depth=12, heads=8, feature_blocks=(6, 12)),
        gidm=GidmConfig(width=384, depth=6, heads=6, code_width=64),
        decoder=DecoderConfig(
            width=384,
            heads=8,
            former_depth=4,
            former_queries=10,
            former_head_width=48,
            encoder_depth=4,
            decoder_depth=4,
        ),
    )


def base(words: tuple[str, ...]) -> DefiConfig:
    """The model of the paper, on CALVIN's cameras, rate and actions (defi-model 2 to 4); it reads any English words."""
    return DefiConfig(
        text=PretrainedTextConfig(),
        autoencoder=SvdAutoencoderConfig(),
        gfdm=SvdConfig(),
        gidm=GidmConfig(width=768, depth=12, heads=12, code_width=128, interleaved_positions=True, dino=DinoConfig()),
        decoder=DecoderConfig(
            width=384,
            heads=8,
            former_depth=6,
            former_queries=14,
            former_head_width=64,
            former_hidden=768,
            language_hidden=768,
            encoder_depth=4,
            decoder_depth=4,
            dropout=0.05,
            attention_dropout=0.3,
            residual_dropout=0.1,
            causal_context=True,
            modulation_offset=0.0,
            action_places=False,
            initial_std=0.02,
        ),
        goal_frame=5,
        step_ns=33_333_333,
        proprioception_width=0,
        action_encoding="accumulated_pose",
    )


NANO_SCHEDULES: Mapping[str, Schedule] = {
    "autoencoder": Schedule(steps=900, batch=32, learning_rate=2e-3, weight_decay=0.0),
    "gfdm": Schedule(steps=1800, batch=16, learning_rate=1e-3),
    "gidm": Schedule(steps=800, batch=32, learning_rate=1e-3),
    "policy": Schedule(steps=4000, batch=48, learning_rate=1e-3),
}

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(name="nano", model=nano, schedules=NANO_SCHEDULES, windows=30_000, noise_draws=4),
        Preset(
            name="nano-all",
            model=nano,
            schedules=NANO_SCHEDULES,
            windows=30_000,
            noise_draws=4,
            frozen=FROZEN_NOTHING,
        ),
        Preset(
            name="small",
            model=small,
            schedules={
                "autoencoder": Schedule(steps=20_000, batch=64, learning_rate=5e-4, weight_decay=0.0),
                "gfdm": Schedule(steps=100_000, batch=32, learning_rate=3e-4, ema=0.9995),
                "gidm": Schedule(steps=20_000, batch=64, learning_rate=3e-4, ema=0.999),
                "policy": Schedule(steps=60_000, batch=64, learning_rate=3e-4, weight_decay=0.05, ema=0.9995),
            },
            windows=20_000,
            noise_draws=4,
        ),
        # Batches and rates of the paper's code (defi-model 2.3, 3.1, 4.5). The autoencoder is SVD's and stays.
        Preset(
            name="base",
            model=base,
            schedules={
                "gfdm": Schedule(steps=100_000, batch=48, learning_rate=5e-6, weight_decay=0.0, ema=0.9999),
                "gidm": Schedule(steps=200_000, batch=512, learning_rate=1e-4, ema=0.9999, gradient_norm=0.1),
                "policy": Schedule(steps=157_000, batch=160, learning_rate=1e-4, weight_decay=0.05, ema=0.9999),
            },
            windows=696_473,
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


def with_changes(chosen: Preset, changes: Sequence[str]) -> Preset:
    """A preset whose model differs in some fields.

    Args:
        chosen: The preset.
        changes: `NAME=VALUE`, as in `chunk_steps=12` or `gfdm.image_size=128`; `none` for what may be absent.

    Raises:
        ConfigError: there is no such field, or no such value of it.
    """
    pairs = [change.partition("=") for change in changes]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--set: got {name!r}, expected NAME=VALUE, as in chunk_steps=12")

    def model(words: tuple[str, ...]) -> DefiConfig:
        return with_fields(chosen.model(words), [(name, value) for name, _, value in pairs])

    model(())
    return replace(chosen, model=model) if pairs else chosen


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
