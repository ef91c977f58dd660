"""How the scene looks for one seed: colours, texture, light and the stand of the static camera. Nothing here moves.

Surroundings are drawn from ranges that a split owns: no test scene looks like any train scene. Things that a task
names keep their colours within a few percent in both.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import mujoco
import numpy as np

from defi_models.contract import ConfigError, FloatArray
from defi_sim.scene import (
    GLOWING,
    LIGHT_DIRECTION,
    LIGHT_POSITION,
    MATERIALS,
    STATIC_CAMERA_EYE,
    STATIC_CAMERA_FOVY_DEG,
    STATIC_CAMERA_TARGET,
    TABLE_MATERIALS,
)

Band = tuple[float, float]

# How far a material's hue (of 1), saturation and brightness may stray from its drawn colour.
_AS_DRAWN = {
    "table": (0.04, 0.18, 0.15),
    "wall": (0.5, 0.12, 0.15),
    "floor": (0.5, 0.08, 0.12),
    "desk": (0.05, 0.06, 0.08),
    "desk_inside": (0.03, 0.05, 0.08),
}
_THINGS = (0.012, 0.05, 0.06)
_THING_NAMES = ("drawer", "drawer_inside", "door", "switch", "button", "red_block", "blue_block", "pink_block")
# The light turns about the middle of the table.
_LIGHT_AXIS_XY = np.array([0.45, 0.0])


@dataclass(frozen=True, slots=True)
class Split:
    """What the surroundings of a set of scenes may look like; a band is (lowest, highest).

    Attributes:
        colours: Material -> bands of hue (may run past 1), saturation and brightness.
        patterns: Materials of the table top.
        as_drawn: Share of scenes with the colours of `defi_sim.scene` and everything else as drawn there.
        light: Brightness of the lamp above the table, 1 as drawn.
        light_turn_rad: How far the lamp stands around the table, to either side.
        camera_m: How far the static camera is moved.
        target_m: How far the point it looks at is moved.
        fovy_deg: How much its field of view differs, to either side.
        desk_m: How far the desk is moved: the larger of its x and y.
    """

    colours: Mapping[str, tuple[Band, Band, Band]]
    patterns: tuple[str, ...]
    as_drawn: float
    light: Band
    light_turn_rad: Band
    camera_m: Band
    target_m: Band
    fovy_deg: Band
    desk_m: Band


_TRAIN = Split(
    colours={
        "table": ((-0.33, 0.40), (0.15, 0.56), (0.40, 0.90)),
        "wall": ((0.0, 1.0), (0.0, 0.30), (0.65, 1.0)),
        "floor": ((0.0, 1.0), (0.0, 0.30), (0.12, 0.50)),
        "desk": ((0.0, 1.0), (0.0, 0.25), (0.78, 0.96)),
        "desk_inside": ((0.0, 1.0), (0.05, 0.20), (0.22, 0.38)),
    },
    patterns=TABLE_MATERIALS[:2],
    as_drawn=0.25,
    light=(0.8, 1.15),
    light_turn_rad=(0.0, 0.5),
    camera_m=(0.0, 0.02),
    target_m=(0.0, 0.01),
    fovy_deg=(0.0, 1.0),
    desk_m=(0.0, 0.008),
)
SPLITS: Mapping[str, Split] = MappingProxyType(
    {
        "drawn": replace(_TRAIN, as_drawn=1.0),
        "train": _TRAIN,
        "test": Split(
            colours={
                "table": ((0.44, 0.63), (0.15, 0.45), (0.40, 0.80)),
                "wall": ((0.0, 1.0), (0.05, 0.30), (0.38, 0.60)),
                "floor": ((0.0, 1.0), (0.0, 0.30), (0.55, 0.80)),
                "desk": ((0.0, 1.0), (0.0, 0.25), (0.56, 0.72)),
                "desk_inside": ((0.0, 1.0), (0.05, 0.20), (0.42, 0.50)),
            },
            patterns=TABLE_MATERIALS[2:],
            as_drawn=0.0,
            light=(0.65, 0.78),
            light_turn_rad=(0.6, 1.0),
            camera_m=(0.022, 0.035),
            target_m=(0.011, 0.018),
            fovy_deg=(1.1, 1.8),
            desk_m=(0.0085, 0.012),
        ),
    }
)


def split_named(name: str) -> Split:
    """The split called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in SPLITS:
        raise ConfigError(f"split: got {name!r}, expected one of {list(SPLITS)}")
    return SPLITS[name]


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """Colours, light and camera of one seeded scene.

    Attributes:
        colours: Material name -> red, green, blue in 0..1.
        light: Brightness of the lamp above the table, 1 as drawn.
        ambient: Brightness of the light from everywhere, 1 as drawn.
        light_turn_rad: Where the lamp stands around the table, 0 as drawn [rad].
        pattern: Material of the table top.
        camera_offset: How far the static camera is from its drawn place, (3,) [m].
        target_offset: How far the point it looks at is from its drawn place, (3,) [m].
        fovy_offset_deg: How much its field of view differs from the drawn one [deg].
    """

    colours: dict[str, tuple[float, float, float]]
    light: float
    ambient: float
    light_turn_rad: float
    pattern: str
    camera_offset: FloatArray
    target_offset: FloatArray
    fovy_offset_deg: float

    @classmethod
    def draw(cls, rng: np.random.Generator, split: str = "train") -> SceneStyle:
        """A style of one split from `rng`; things a task names keep their colour within a few percent.

        Raises:
            ConfigError: there is no such split.
        """
        ranges = split_named(split)
        spreads = {**_AS_DRAWN, **dict.fromkeys(_THING_NAMES, _THINGS)}
        colours = {name: _stray(MATERIALS[name], spread, rng) for name, spread in spreads.items()}
        light, ambient = float(rng.uniform(0.8, 1.15)), float(rng.uniform(0.85, 1.15))
        # From a generator of its own, so that a seed's start does not depend on its look.
        own = rng.spawn(1)[0]
        if own.random() < ranges.as_drawn:
            return cls(colours, light, ambient, 0.0, TABLE_MATERIALS[0], np.zeros(3), np.zeros(3), 0.0)
        for name, (hue, saturation, value) in ranges.colours.items():
            red, green, blue = colorsys.hsv_to_rgb(
                own.uniform(*hue) % 1.0, own.uniform(*saturation), own.uniform(*value)
            )
            colours[name] = (red, green, blue)
        return cls(
            colours,
            light=float(own.uniform(*ranges.light)),
            ambient=ambient,
            light_turn_rad=_either_side(own, ranges.light_turn_rad),
            pattern=str(own.choice(ranges.patterns)),
            camera_offset=_shell(own, ranges.camera_m),
            target_offset=_shell(own, ranges.target_m),
            fovy_offset_deg=_either_side(own, ranges.fovy_deg),
        )

    def apply(self, model: mujoco.MjModel) -> None:
        """Paints `model` and moves its static camera; nobody may be drawing it at that time."""
        for name, colour in self.colours.items():
            model.material(name).rgba[:3] = colour
        for name in TABLE_MATERIALS:
            model.material(name).rgba[:3] = self.colours["table"]
        model.geom("table").matid = model.material(self.pattern).id
        model.light_diffuse[:] = 0.55 * self.light
        model.vis.headlight.ambient[:] = 0.35 * self.ambient
        cos, sin = math.cos(self.light_turn_rad), math.sin(self.light_turn_rad)
        turn = np.array([[cos, -sin], [sin, cos]])
        model.light_pos[0, :2] = _LIGHT_AXIS_XY + turn @ (np.array(LIGHT_POSITION[:2]) - _LIGHT_AXIS_XY)
        model.light_dir[0, :2] = turn @ np.array(LIGHT_DIRECTION[:2]) / np.linalg.norm(LIGHT_DIRECTION)
        camera = model.camera("static")
        camera.pos[:] = np.array(STATIC_CAMERA_EYE) + self.camera_offset
        camera.fovy[:] = STATIC_CAMERA_FOVY_DEG + self.fovy_offset_deg
        model.body("static_target").pos[:] = np.array(STATIC_CAMERA_TARGET) + self.target_offset


def draw_desk(rng: np.random.Generator, split: str) -> FloatArray:
    """Where the desk of a scene stands relative to its drawn place: x and y [m].

    Raises:
        ConfigError: there is no such split.
    """
    low, high = split_named(split).desk_m
    offset = rng.uniform(-high, high, 2)
    if np.abs(offset).max() < low:
        axis = int(rng.integers(2))
        offset[axis] = math.copysign(rng.uniform(low, high), offset[axis])
    return offset


def _either_side(rng: np.random.Generator, band: Band) -> float:
    """A number whose size is within `band`."""
    return float(rng.uniform(*band) * (1.0 if rng.random() < 0.5 else -1.0))


def _shell(rng: np.random.Generator, band: Band) -> FloatArray:
    """A vector of random direction whose length is within `band`, (3,)."""
    direction = rng.standard_normal(3)
    return direction / np.linalg.norm(direction) * rng.uniform(*band)


def _stray(rgba: str, spread: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in rgba.split()[:3])
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    shift = rng.uniform(-1.0, 1.0, 3) * spread
    return colorsys.hsv_to_rgb(
        (hue + shift[0]) % 1.0,
        float(np.clip(saturation + shift[1], 0.0, 1.0)),
        float(np.clip(value + shift[2], 0.05, 1.0)),
    )


def light_up(model: mujoco.MjModel, *, lamp: bool, led: bool) -> None:
    """Gives the lamp and the LED the material of their state."""
    for geom, lit in (("lamp", lamp), ("led", led)):
        material = f"{geom}_on" if lit else f"{geom}_off"
        assert material in GLOWING or material in MATERIALS
        model.geom(geom).matid = model.material(material).id
