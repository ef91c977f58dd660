"""What is compared, and how much of everything each side gets. Knows no data, no training loop and no simulator.

Every arm makes the same number of gradient steps on the same data, on top of one autoencoder a seed that all of them
share (as all of the paper's models share Stable Video Diffusion's). With G, I and P the steps of the budget for GFDM,
GIDM and policy:

| arm        | GFDM                                  | GIDM                          | steps of stage 3 |
|------------|---------------------------------------|-------------------------------|------------------|
| both       | G steps on all video, then frozen     | I steps on all video          | P                |
| gfdm_only  | G steps on all video, then frozen     | fresh                         | I + P            |
| gidm_only  | fresh, trained in stage 3             | I steps on all video          | G + P            |
| neither    | fresh, trained in stage 3             | fresh                         | G + I + P        |
| entangled  | one network for frames and actions, on target demonstrations and video at once | | G + I + P |

"Without pretraining" means: the same architecture with fresh weights, which only stage 3 trains, on the target
demonstrations, through the loss of the actions. The steps that its pretraining would have taken are added to stage 3.
Equal steps are not equal time: a GFDM that is trained in stage 3 makes each of its steps about four times as dear.
Nor are they equally many windows with actions (`labelled`): half of each of the baseline's batches is video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from defi_models.config import (
    AutoencoderConfig,
    DecoderConfig,
    DefiConfig,
    GfdmConfig,
    GidmConfig,
    TextConfig,
)
from defi_models.contract import ConfigError
from defi_models.options import did_you_mean
from defi_models.training.presets import FROZEN, FROZEN_NOTHING, Preset, Schedule

ENTANGLED = "entangled"
NOISE_DRAWS = 4  # as the preset `nano`; the baseline has no noise


@dataclass(frozen=True)
class Arm:
    """One side of the comparison.

    Attributes:
        name: Its name.
        gfdm: Whether its GFDM is pretrained.
        gidm: Whether its GIDM is pretrained.
        label: For the table.
    """

    name: str
    gfdm: bool
    gidm: bool
    label: str


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("neither", False, False, "neither pretrained"),
        Arm("gfdm_only", True, False, "GFDM pretrained"),
        Arm("gidm_only", False, True, "GIDM pretrained"),
        Arm("both", True, True, "both pretrained"),
        Arm(ENTANGLED, False, False, "entangled: one network for frames and actions"),
    )
}


def labelled(arm: str, batch: int) -> int:
    """How many of the `batch` samples of a step of stage 3 have actions; the baseline learns video in the same steps."""
    return batch - batch // 2 if arm == ENTANGLED else batch


@dataclass(frozen=True)
class Budget:
    """What every arm gets.

    Attributes:
        name: Its name.
        model: The model for a vocabulary.
        schedules: One for each stage; steps, batch and rate.
        windows: Windows of the demonstrations that stage 3 learns from.
        demonstrations: Of the target arm, tasks in turn.
        clips: Videos of each other embodiment, tasks in turn.
        metaworld_clips: Videos of each task of Meta-World's MT10, where that is installed.
        target_share: Of all samples in pretraining, those of the target demonstrations.
        attempts: Of each arm and seed, tasks in turn.
        timeout_s: When an attempt has failed [s].
    """

    name: str
    model: Callable[[tuple[str, ...]], DefiConfig]
    schedules: Mapping[str, Schedule]
    windows: int
    demonstrations: int
    clips: int
    metaworld_clips: int
    target_share: float
    attempts: int
    timeout_s: float

    def facts(self) -> dict[str, Any]:
        """Its numbers, to tell results of one from those of another."""
        return {**asdict(self), "model": None, "noise_draws": NOISE_DRAWS}

    @property
    def steps(self) -> int:
        """Gradient steps of every arm, without those of the autoencoder, which all share."""
        return sum(self.schedules[stage].steps for stage in ("gfdm", "gidm", "policy"))

    def preset(self, arm: Arm) -> Preset:
        """How `arm` is trained."""
        left = 0 if arm.gfdm else self.schedules["gfdm"].steps
        left += 0 if arm.gidm else self.schedules["gidm"].steps
        policy = replace(self.schedules["policy"], steps=self.schedules["policy"].steps + left)
        return Preset(
            name=f"claim-{self.name}-{arm.name}",
            model=self.model,
            schedules={**self.schedules, "policy": policy},
            windows=self.windows,
            noise_draws=NOISE_DRAWS,
            frozen=FROZEN if arm.gfdm else FROZEN_NOTHING,
        )


def compared(words: tuple[str, ...]) -> DefiConfig:
    """The model of every arm: the preset `nano` when the first seed ran. It stays when that changes, so that seeds can be added."""
    return DefiConfig(
        text=TextConfig(words=words),
        autoencoder=AutoencoderConfig(channels=(16, 48, 96), latent_channels=8),
        gfdm=GfdmConfig(patch=2),
        decoder=DecoderConfig(former_queries=6, sigma_max=10.0, sampling_steps=5),
    )


def smallest(words: tuple[str, ...]) -> DefiConfig:
    """Every part present, every width small: to see that all of it runs."""
    return DefiConfig(
        text=TextConfig(words=words, width=16, heads=2),
        autoencoder=AutoencoderConfig(channels=(8, 8, 16)),
        gfdm=GfdmConfig(image_size=32, width=16, depth=2, heads=2, feature_blocks=(1, 2)),
        gidm=GidmConfig(width=16, depth=1, heads=2, queries=2, codes=4, code_width=8),
        decoder=DecoderConfig(
            width=16,
            heads=2,
            former_depth=1,
            former_queries=2,
            former_head_width=8,
            encoder_depth=1,
            decoder_depth=1,
            sampling_steps=2,
        ),
    )


def _schedules(autoencoder: int, gfdm: int, gidm: int, policy: int, batch: int) -> Mapping[str, Schedule]:
    return {
        "autoencoder": Schedule(autoencoder, 2 * batch, 2e-3, weight_decay=0.0, ema=0.99),
        "gfdm": Schedule(gfdm, batch, 1e-3, ema=0.99),
        "gidm": Schedule(gidm, 2 * batch, 1e-3, ema=0.99),
        "policy": Schedule(policy, batch, 1e-3, ema=0.99),
    }


BUDGETS: Mapping[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget(
            name="smoke",
            model=smallest,
            schedules=_schedules(2, 2, 2, 2, batch=2),
            windows=16,
            demonstrations=2,
            clips=2,
            metaworld_clips=0,
            target_share=0.4,
            attempts=1,
            timeout_s=0.5,
        ),
        # Six hours of one core a seed: half an hour where the GFDM is frozen in stage 3, two hours where it is trained.
        # With a third of the steps of stage 3 its loss was still falling by half a thousand steps, and no arm did a task.
        Budget(
            name="cpu",
            model=compared,
            schedules=_schedules(400, 600, 300, 3000, batch=16),
            windows=4000,
            demonstrations=120,
            clips=200,
            metaworld_clips=8,
            target_share=0.4,
            attempts=64,
            timeout_s=10.0,
        ),
        # The preset's own schedules and more video: for a GPU.
        Budget(
            name="nano",
            model=compared,
            schedules={
                "autoencoder": Schedule(900, 32, 2e-3, weight_decay=0.0),
                "gfdm": Schedule(6000, 32, 1e-3),
                "gidm": Schedule(2000, 32, 1e-3),
                "policy": Schedule(8000, 48, 1e-3),
            },
            windows=16_000,
            demonstrations=120,
            clips=800,
            metaworld_clips=50,
            target_share=0.4,
            attempts=200,
            timeout_s=15.0,
        ),
    )
}


def budget_named(name: str) -> Budget:
    """The budget called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in BUDGETS:
        raise ConfigError(f"--budget: got {name!r}, expected one of {list(BUDGETS)}{did_you_mean(name, BUDGETS)}")
    return BUDGETS[name]
