"""Other bodies around the same physics, for action-free video: what cameras see differs, what moves does not.

"panda"      the arm as it is
"other_arm"  tubes between the same joints, round housings at them, and another gripper
"hand"       no arm: a hand of skin with a sleeve, thumb and fingers where the gripper's fingers are

Colours of the other bodies are drawn anew for each scene.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from types import MappingProxyType
from xml.etree.ElementTree import Element

import mujoco
import numpy as np

from defi_models.contract import ConfigError
from defi_sim.arm import NO_CONTACT
from defi_sim.mjcf import add, numbers, section

PANDA, OTHER_ARM, HAND = "panda", "other_arm", "hand"
EMBODIMENTS = (PANDA, OTHER_ARM, HAND)
HIDDEN_GROUP = "3"  # groups above 2 are not drawn
_SHELL, _TRIM, _TOOL, _SKIN, _SLEEVE = "other_shell", "other_trim", "other_tool", "skin", "sleeve"
Band = tuple[float, float]
# Material -> bands of hue, saturation and brightness. Shells are never the Panda's white; skin goes from pale to dark.
_COLOURS: Mapping[str, Mapping[str, tuple[Band, Band, Band]]] = MappingProxyType(
    {
        PANDA: {},
        OTHER_ARM: {
            _SHELL: ((0.0, 1.0), (0.45, 0.95), (0.35, 0.90)),
            _TRIM: ((0.0, 1.0), (0.0, 0.25), (0.10, 0.40)),
            _TOOL: ((0.0, 1.0), (0.0, 0.80), (0.20, 0.80)),
        },
        HAND: {
            _SKIN: ((0.04, 0.085), (0.30, 0.55), (0.40, 0.95)),
            _SLEEVE: ((0.0, 1.0), (0.10, 0.80), (0.15, 0.90)),
        },
    }
)


def check_embodiment(name: str) -> None:
    """Refuses names of no embodiment.

    Raises:
        ConfigError: so.
    """
    if name not in EMBODIMENTS:
        raise ConfigError(f"embodiment: got {name!r}, expected one of {list(EMBODIMENTS)}")


def dress(root: Element, embodiment: str) -> None:
    """Hides the Panda of an MJCF document and draws another body in its place; nothing added has mass or contact.

    Raises:
        ConfigError: there is no such embodiment.
    """
    check_embodiment(embodiment)
    if embodiment == PANDA:
        return
    bodies = {str(body.get("name")): body for body in root.iter("body") if "panda_" in str(body.get("name"))}
    for body in bodies.values():
        for geom in body.findall("geom"):
            geom.set("group", HIDDEN_GROUP)
    for name in _COLOURS[embodiment]:
        add(section(root, "asset"), "material", name=name, rgba="0.5 0.5 0.5 1", specular="0.1", shininess="0.1")
    if embodiment == OTHER_ARM:
        _draw_arm(bodies)
    else:
        _draw_hand(bodies)


def paint(model: mujoco.MjModel, embodiment: str, rng: np.random.Generator) -> None:
    """Draws the colours of a body that is not the Panda; nobody may be drawing the model at that time."""
    for name, bands in _COLOURS[embodiment].items():
        model.material(name).rgba[:3] = colorsys.hsv_to_rgb(*(float(rng.uniform(*band)) for band in bands))


def _tube(body: Element, start: tuple[float, ...], end: tuple[float, ...], radius: float, material: str) -> None:
    add(
        body,
        "geom",
        type="capsule",
        fromto=numbers(*start, *end),
        size=numbers(radius),
        material=material,
        mass="0",
        **NO_CONTACT,
    )


def _solid(
    body: Element, kind: str, centre: tuple[float, ...], size: tuple[float, ...], material: str, **more: str
) -> None:
    position, measures = numbers(*centre), numbers(*size)
    add(body, "geom", type=kind, pos=position, size=measures, material=material, mass="0", **NO_CONTACT, **more)


def _draw_arm(bodies: Mapping[str, Element]) -> None:
    """Tubes of links from joint to joint, as wide as a light arm's, and a housing along each joint's axis."""
    for number in range(8):
        body = bodies[f"panda_link{number}"]
        radius = 0.058 - 0.003 * number
        child = bodies.get(f"panda_link{number + 1}")
        end = (
            tuple(float(value) for value in (child.get("pos") or "0 0 0").split()) if child is not None else (0.0,) * 3
        )
        if any(end):
            _tube(body, (0.0, 0.0, 0.0), end, radius * 0.8, _SHELL)
        if number:
            _solid(body, "cylinder", (0.0, 0.0, 0.0), (radius * 1.15, radius * 1.25), _TRIM)
    _solid(bodies["panda_link0"], "cylinder", (0.0, 0.0, 0.03), (0.10, 0.03), _TRIM)
    hand = bodies["panda_hand"]
    _solid(hand, "cylinder", (0.0, 0.0, 0.02), (0.042, 0.035), _SHELL)
    _solid(hand, "box", (0.0, 0.0, 0.052), (0.018, 0.085, 0.010), _TRIM)
    for name in ("panda_leftfinger", "panda_rightfinger"):
        side = 1.0 if name == "panda_leftfinger" else -1.0
        _solid(bodies[name], "box", (0.0, side * 0.010, 0.026), (0.014, 0.008, 0.028), _TOOL)


def _draw_hand(bodies: Mapping[str, Element]) -> None:
    """A palm over the gripper's body, a forearm leaning back from it, thumb and two fingers that pinch as it does."""
    hand = bodies["panda_hand"]
    _solid(hand, "ellipsoid", (0.0, 0.0, 0.005), (0.032, 0.058, 0.048), _SKIN)
    _tube(hand, (-0.005, 0.0, -0.03), (-0.05, 0.0, -0.12), 0.027, _SKIN)
    _tube(hand, (-0.06, 0.0, -0.14), (-0.24, 0.0, -0.46), 0.045, _SLEEVE)
    for name in ("panda_leftfinger", "panda_rightfinger"):
        side, finger = (1.0, bodies[name]) if name == "panda_leftfinger" else (-1.0, bodies[name])
        for across in (0.0,) if side > 0 else (-0.012, 0.012):
            knuckle = (across * 1.3, side * 0.024, 0.004)
            _tube(finger, (across, side * 0.012, -0.045), knuckle, 0.0125, _SKIN)
            _tube(finger, knuckle, (across * 0.8, side * 0.010, 0.044), 0.0105, _SKIN)
