"""The episodes of SimplerEnv's Google robot benchmark and how their figures are averaged; needs no simulator.

Facts from the scripts and `tools/calc_metrics_evaluation_videos.py` of github.com/simpler-env/SimplerEnv (Li et al.
2024). Settings with other cameras are in its scripts too, but not in its averages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np

from defi_models.contract import ConfigError, FloatArray
from defi_models.evaluation.interval import wilson_interval

Kind = Literal["visual_matching", "variant_aggregation"]
KINDS: tuple[Kind, ...] = ("visual_matching", "variant_aggregation")
TASKS = ("pick_coke_can", "move_near", "drawer")
AVERAGE = "average"  # over the tasks

_ORIENTATIONS = ("lr_switch", "upright", "laid_vertically")
_ROBOT_COLOURS = (
    "None",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
_TABLE = "google_pick_coke_can_1_v4"
_OTHER_ROOMS = (f"{_TABLE}_alt_background", f"{_TABLE}_alt_background_2")
_OTHER_TABLES = ("Baked_sc1_staging_objaverse_cabinet1_h870", "Baked_sc1_staging_objaverse_cabinet2_h870")
_DRAWER_ROOM, _OTHER_DRAWER_ROOMS = "frl_apartment_stage_simple", ("modern_bedroom_no_roof", "modern_office_no_roof")
_LIGHTS = ({"slightly_darker_lighting": True}, {"slightly_brighter_lighting": True})
_CAN_SPOTS = tuple(product(np.linspace(-0.35, -0.12, 5).tolist(), np.linspace(-0.02, 0.42, 5).tolist()))
# Where the robot stands for the drawers in photographs A0 .. C2: x, y [m] and yaw [rad].
_DRAWER_PHOTOGRAPHS = {
    "a0": (0.644, -0.179, -0.03),
    "a1": (0.765, -0.182, -0.02),
    "a2": (0.889, -0.203, -0.06),
    "b0": (0.652, 0.009, 0.0),
    "b1": (0.752, 0.009, 0.0),
    "b2": (0.851, 0.035, 0.0),
    "c0": (0.665, 0.224, 0.0),
    "c1": (0.765, 0.222, -0.025),
    "c2": (0.865, 0.222, -0.025),
}
_DRAWER_STANDS = tuple(
    (x, y, 0.0) for x, y in product(np.linspace(0.65, 0.85, 3).tolist(), np.linspace(-0.2, 0.2, 3).tolist())
)


@dataclass(frozen=True)
class Setting:
    """Episodes that one figure is made of.

    Attributes:
        kind: Which of the two benchmarks it is of.
        task: One of `TASKS`.
        group: What is averaged before the task: the can's orientation, or open or close.
        environment: Name of the environment.
        scene: Name of its scene.
        options: What the environment is further built with.
        overlay: Photograph laid over the background, without ending; None for none.
        max_steps: Steps of an episode.
    """

    kind: Kind
    task: str
    group: str
    environment: str
    scene: str
    options: Mapping[str, object] = field(default_factory=dict)
    overlay: str | None = None
    max_steps: int = 80

    @property
    def name(self) -> str:
        """Tells it from the others."""
        options = "_".join(f"{key}_{value}" for key, value in self.options.items())
        return "/".join(part for part in (self.kind, self.environment, self.scene, options) if part)


@dataclass(frozen=True)
class SimplerEpisode:
    """One episode.

    Attributes:
        setting: What it is part of.
        robot: Where the robot stands: x, y [m], yaw [rad].
        object_xy: Where the object lies [m], or None.
        object_episode: Number of the arrangement of objects, where it is not a place; else None.
        overlay: Photograph laid over the background; None for none.
    """

    setting: Setting
    robot: tuple[float, float, float]
    object_xy: tuple[float, float] | None = None
    object_episode: int | None = None
    overlay: str | None = None


def settings(kind: Kind) -> list[Setting]:
    """The settings of one kind.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: got {kind!r}, expected one of {list(KINDS)}")
    return [*_can(kind), *_near(kind), *_drawers(kind)]


def _can(kind: Kind) -> Iterator[Setting]:
    can, crowded = "GraspSingleOpenedCokeCanInScene-v0", "GraspSingleOpenedCokeCanDistractorInScene-v0"
    for orientation in _ORIENTATIONS:
        lying: dict[str, object] = {orientation: True}
        if kind == "visual_matching":
            for colour in _ROBOT_COLOURS:
                options = lying | {"urdf_version": colour}
                photograph = "google_coke_can_real_eval_1"
                yield Setting(kind, TASKS[0], orientation, can, _TABLE, options, photograph)
            continue
        variants = [(can, scene, {}) for scene in (_TABLE, *_OTHER_ROOMS, *_OTHER_TABLES)]
        variants += [(can, _TABLE, light) for light in _LIGHTS]
        variants += [(crowded, _TABLE, {}), (crowded, _TABLE, {"distractor_config": "more"})]
        for environment, scene, options in variants:
            yield Setting(kind, TASKS[0], orientation, environment, scene, lying | options)


def _near(kind: Kind) -> Iterator[Setting]:
    if kind == "visual_matching":
        for colour in _ROBOT_COLOURS:
            options = {"urdf_version": colour}
            photograph = "google_move_near_real_eval_1"
            yield Setting(kind, TASKS[1], "", "MoveNearGoogleBakedTexInScene-v0", _TABLE, options, photograph)
        return
    variants = [(scene, {}) for scene in (_TABLE, *_OTHER_ROOMS, *_OTHER_TABLES)]
    variants += [(_TABLE, light) for light in _LIGHTS] + [(_TABLE, {"no_distractor": True})]
    for scene, options in variants:
        yield Setting(kind, TASKS[1], "", "MoveNearGoogleInScene-v0", scene, options)


def _drawers(kind: Kind) -> Iterator[Setting]:
    traced: dict[str, object] = {"shader_dir": "rt"}
    for verb, place in product(("Open", "Close"), ("Top", "Middle", "Bottom")):
        environment = f"{verb}{place}DrawerCustomInScene-v0"
        if kind == "visual_matching":
            drawn = {"station_name": "mk_station_recolor", "light_mode": "simple", "disable_bad_material": True}
            variants = [("dummy_drawer", drawn | {"urdf_version": colour}) for colour in _ROBOT_COLOURS]
        else:
            variants = [(scene, {}) for scene in (_DRAWER_ROOM, *_OTHER_DRAWER_ROOMS)]
            variants += [(_DRAWER_ROOM, {"light_mode": light}) for light in ("brighter", "darker")]
            variants += [(_DRAWER_ROOM, {"station_name": station}) for station in ("mk_station2", "mk_station3")]
        for scene, options in variants:
            overlay = "open_drawer" if kind == "visual_matching" else None
            yield Setting(kind, TASKS[2], verb.lower(), environment, scene, traced | options, overlay, max_steps=113)


def episodes(setting: Setting) -> list[SimplerEpisode]:
    """The episodes of one setting, in the order of the scripts."""
    if setting.task == "pick_coke_can":
        return [SimplerEpisode(setting, (0.35, 0.20, 0.0), spot, overlay=setting.overlay) for spot in _CAN_SPOTS]
    if setting.task == "move_near":
        stand = (0.35, 0.21, -0.09)
        return [SimplerEpisode(setting, stand, object_episode=number, overlay=setting.overlay) for number in range(60)]
    if setting.overlay is None:
        return [SimplerEpisode(setting, stand, (0.0, 0.0)) for stand in _DRAWER_STANDS]
    return [
        SimplerEpisode(setting, stand, (0.0, 0.0), overlay=f"{setting.overlay}_{name}")
        for name, stand in _DRAWER_PHOTOGRAPHS.items()
    ]


def averages(results: Iterable[tuple[Setting, Sequence[bool]]]) -> dict[str, float]:
    """Success of each task and their mean, `AVERAGE`.

    Mean within a setting, then over the settings of a group (an orientation of the can, opening or closing), then over
    groups, then over tasks.

    Raises:
        ConfigError: a setting has no episode, or there is none.
    """
    shares = []
    for setting, successes in results:
        if not successes:
            raise ConfigError(f"SimplerEnv: got no episode of {setting.name}, expected at least 1")
        shares.append((setting, np.array(sum(successes) / len(successes))))
    return {name: float(share) for name, share in _means(shares).items()}


def intervals(results: Sequence[tuple[Setting, Sequence[bool]]]) -> dict[str, tuple[float, float]]:
    """The 95 % intervals of `averages`: Wilson's, of as many episodes as the weighted ones are worth (Kish 1965, 8.2)."""
    counts = np.array([len(successes) for _, successes in results])
    shares = np.array([np.mean(successes) for _, successes in results])
    weights = _means([(setting, unit) for (setting, _), unit in zip(results, np.eye(len(results)), strict=True)])
    worth = {name: 1 / float((weight**2 / counts).sum()) for name, weight in weights.items()}
    return {name: wilson_interval(float(weights[name] @ shares) * count, count) for name, count in worth.items()}


def _means(shares: Iterable[tuple[Setting, FloatArray]]) -> dict[str, FloatArray]:
    groups: dict[str, dict[str, list[FloatArray]]] = {}
    for setting, share in shares:
        groups.setdefault(setting.task, {}).setdefault(setting.group, []).append(share)
    if not groups:
        raise ConfigError("SimplerEnv: got no setting, expected at least 1")
    by_task = {
        task: np.mean([np.mean(some, axis=0) for some in groups[task].values()], axis=0)
        for task in TASKS
        if task in groups
    }
    return by_task | {AVERAGE: np.mean(list(by_task.values()), axis=0)}
