"""How the scene looks for one seed: colours and light. Nothing here moves or touches anything."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import mujoco
import numpy as np

from defi_sim.scene import GLOWING, MATERIALS

# How far a material's hue (of 1), saturation and brightness may stray from its drawn colour.
_SURROUNDINGS = {"table": (0.04, 0.18, 0.15), "wall": (0.5, 0.12, 0.15), "floor": (0.5, 0.08, 0.12)}
_DESK = {"desk": (0.05, 0.06, 0.08), "desk_inside": (0.03, 0.05, 0.08)}
_THINGS = (0.012, 0.05, 0.06)
_THING_NAMES = ("drawer", "drawer_inside", "door", "switch", "button", "red_block", "blue_block", "pink_block")


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """Colours and light of one seeded scene.

    Attributes:
        colours: Material name -> red, green, blue in 0..1.
        light: Brightness of the lamp above the table, 1 as drawn.
        ambient: Brightness of the light from everywhere, 1 as drawn.
    """

    colours: dict[str, tuple[float, float, float]]
    light: float
    ambient: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> SceneStyle:
        """A style from `rng`; things a task names keep their colour within a few percent."""
        spreads = {**_SURROUNDINGS, **_DESK, **dict.fromkeys(_THING_NAMES, _THINGS)}
        colours = {name: _stray(MATERIALS[name], spread, rng) for name, spread in spreads.items()}
        return cls(colours, float(rng.uniform(0.8, 1.15)), float(rng.uniform(0.85, 1.15)))

    def apply(self, model: mujoco.MjModel) -> None:
        """Paints `model`; nobody may be drawing it at that time."""
        for name, colour in self.colours.items():
            model.material(name).rgba[:3] = colour
        model.light_diffuse[:] = 0.55 * self.light
        model.vis.headlight.ambient[:] = 0.35 * self.ambient


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
