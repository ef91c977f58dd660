"""The table as a MuJoCo model: desk, drawer, sliding door, switch with lamp, button with LED, three blocks, cameras.

Axes: the robot's base is the origin on the table top, x points away from it, y to its left, z up. All lengths [m].
Geometry only: what moves is in `defi_sim.world`, how it is coloured for one seed in `defi_sim.style`.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from defi_sim.arm import NO_CONTACT, add_arm
from defi_sim.embodiment import PANDA, dress
from defi_sim.mjcf import add, numbers

FIXTURE_CONTACT = {"contype": "2", "conaffinity": "5"}
BLOCK_CONTACT = {"contype": "4", "conaffinity": "7"}

TIMESTEP_S = 0.002

# The desk's front is at x = 0.60; everything on it is within 0.72 m of the base, which the Panda reaches pointing down.
DESK_FRONT_X = 0.60
DESK_TOP_Z = 0.14
DRAWER_Y, DRAWER_TRAVEL, DRAWER_BAR_X, DRAWER_BAR_Z = 0.19, 0.16, 0.53, 0.10
DRAWER_LOW, DRAWER_HIGH = (0.008, -0.107, 0.014), (0.164, 0.107, 0.08)  # its inside, from the middle of its front
DOOR_Y, DOOR_TRAVEL, DOOR_HANDLE_X, DOOR_HANDLE_TOP_Z = -0.26, 0.20, 0.55, 0.115
SWITCH_XY, SWITCH_LENGTH, SWITCH_TRAVEL_RAD = (0.645, -0.13), 0.06, 0.6
BUTTON_XY, BUTTON_HEIGHT, BUTTON_TRAVEL = (0.655, 0.21), 0.026, 0.015
LAMP_XYZ, LED_XYZ = (0.72, -0.28, 0.235), (0.72, 0.06, 0.165)

BLOCKS = ("red_block", "blue_block", "pink_block")
BLOCK_HALF_SIZES: dict[str, tuple[float, float, float]] = {
    "red_block": (0.035, 0.02, 0.02),
    "blue_block": (0.024, 0.024, 0.024),
    "pink_block": (0.045, 0.018, 0.018),
}
FIXTURE_JOINTS = ("drawer", "door", "switch", "button")
# Over the robot's right shoulder: all fronts, handles and lights are in view, and the arm comes in from the left.
STATIC_CAMERA_EYE, STATIC_CAMERA_TARGET, STATIC_CAMERA_FOVY_DEG = (-0.02, -0.80, 0.86), (0.52, -0.03, 0.11), 40.0
WRIST_CAMERA_FOVY_DEG = 72.0
LIGHT_POSITION, LIGHT_DIRECTION = (-0.3, -0.6, 2.2), (0.3, 0.25, -1.0)
# The table top, plain and with patterns; all take the colour of "table".
TABLE_MATERIALS = ("table", "table_specks", "table_tiles")

MATERIALS: dict[str, str] = {
    "floor": "0.35 0.36 0.38 1",
    "wall": "0.75 0.77 0.80 1",
    "table": "0.72 0.60 0.45 1",
    "desk": "0.86 0.84 0.78 1",
    "desk_inside": "0.30 0.26 0.24 1",
    "drawer": "0.16 0.55 0.55 1",
    "drawer_inside": "0.70 0.85 0.84 1",
    "handle": "0.12 0.12 0.14 1",
    "door": "0.50 0.36 0.66 1",
    "door_handle": "0.97 0.97 0.97 1",
    "switch": "0.95 0.50 0.10 1",
    "metal": "0.35 0.36 0.40 1",
    "button": "0.85 0.12 0.55 1",
    "lamp_off": "0.28 0.26 0.20 1",
    "led_off": "0.07 0.18 0.09 1",
    "red_block": "0.85 0.10 0.08 1",
    "blue_block": "0.10 0.25 0.85 1",
    "pink_block": "1.0 0.55 0.72 1",
    "arm": "0.92 0.93 0.95 1",
    "hand": "0.30 0.31 0.34 1",
    "finger": "0.62 0.64 0.67 1",
    "fingertip": "0.10 0.10 0.11 1",
}
GLOWING: dict[str, str] = {"lamp_on": "1.0 0.90 0.25 1", "led_on": "0.15 1.0 0.25 1"}


def build_scene(embodiment: str = PANDA) -> str:
    """The scene as MJCF text, with what is seen of the arm drawn as `embodiment`.

    Raises:
        ConfigError: there is no such embodiment.
    """
    root = Element("mujoco", model="defi_table")
    add(root, "compiler", angle="radian", autolimits="true", balanceinertia="true")
    add(root, "option", timestep=str(TIMESTEP_S), integrator="implicitfast", cone="elliptic", impratio="5")
    add(root, "statistic", extent="1", center="0.5 0 0.1")
    visual = add(root, "visual")
    add(visual, "quality", shadowsize="0", offsamples="0", numslices="12", numstacks="8")
    add(visual, "map", znear="0.01", zfar="30")
    add(visual, "headlight", ambient="0.35 0.35 0.35", diffuse="0.25 0.25 0.25", specular="0 0 0")
    add(visual, "global", offwidth="1280", offheight="960")
    asset = add(root, "asset")
    for name, rgba in MATERIALS.items():
        add(asset, "material", name=name, rgba=rgba, specular="0.1", shininess="0.1")
    for name, rgba in GLOWING.items():
        add(asset, "material", name=name, rgba=rgba, emission="1", specular="0", shininess="0")
    _add_patterns(asset)
    world = add(root, "worldbody")
    _add_room(world)
    _add_cameras(world)
    add_arm(world, root)
    _add_wrist_camera(root)
    desk = add(world, "body", name="desk", pos=f"{DESK_FRONT_X} 0 0")
    _add_desk(desk)
    _add_drawer(desk)
    _add_door(desk)
    _add_switch(desk)
    _add_button(desk)
    for name in BLOCKS:
        _add_block(world, name)
    dress(root, embodiment)
    return ElementTree.tostring(root, encoding="unicode")


def _box(
    body: Element, material: str, low: tuple[float, float, float], high: tuple[float, float, float], **more: str
) -> Element:
    """A box from its lowest to its highest corner, in the frame of `body`."""
    centre = numbers(*((a + b) / 2 for a, b in zip(low, high, strict=True)))
    size = numbers(*((b - a) / 2 for a, b in zip(low, high, strict=True)))
    return add(body, "geom", type="box", pos=centre, size=size, material=material, **{**FIXTURE_CONTACT, **more})


def _add_patterns(asset: Element) -> None:
    """Materials of the table top with a grey pattern, which their colour tints."""
    size = {"width": "128", "height": "128"}
    specks = {"builtin": "flat", "mark": "random", "markrgb": "0.8 0.8 0.8", "random": "0.25", "rgb1": "1 1 1"}
    tiles = {"builtin": "checker", "rgb1": "1 1 1", "rgb2": "0.84 0.84 0.84"}
    for name, pattern, repeat in ((TABLE_MATERIALS[1], specks, "2 2"), (TABLE_MATERIALS[2], tiles, "4 4")):
        add(asset, "texture", type="2d", name=name, **size, **pattern)
        add(
            asset,
            "material",
            name=name,
            texture=name,
            texrepeat=repeat,
            rgba=MATERIALS["table"],
            specular="0.1",
            shininess="0.1",
        )


def _add_room(world: Element) -> None:
    add(
        world,
        "light",
        name="lamp_above",
        pos=numbers(*LIGHT_POSITION),
        dir=numbers(*LIGHT_DIRECTION),
        castshadow="false",
    )
    add(world, "geom", type="plane", pos="0 0 -0.75", size="4 4 0.1", material="floor", name="floor", **NO_CONTACT)
    add(world, "geom", type="box", pos="0.5 1.6 0.5", size="4 0.02 1.6", material="wall", name="wall", **NO_CONTACT)
    _box(world, "table", (-0.25, -0.62, -0.04), (0.95, 0.55, 0.0), name="table", friction="0.8 0.01 0.001")


def _add_cameras(world: Element) -> None:
    add(world, "body", name="static_target", pos=numbers(*STATIC_CAMERA_TARGET))
    add(
        world,
        "camera",
        name="static",
        pos=numbers(*STATIC_CAMERA_EYE),
        mode="targetbody",
        target="static_target",
        fovy=str(STATIC_CAMERA_FOVY_DEG),
    )


def _add_wrist_camera(root: Element) -> None:
    hand = next(body for body in root.iter("body") if body.get("name") == "panda_hand")
    # 6.5 cm in front of the hand, looking along the fingers and 14 degrees towards them; image up is the hand's x axis.
    add(
        hand,
        "camera",
        name="wrist",
        pos="0.065 0 0.02",
        xyaxes="0 1 0 0.97 0 0.243",
        fovy=str(WRIST_CAMERA_FOVY_DEG),
    )


def _add_desk(desk: Element) -> None:
    """A low desk, 0.20 m deep and 0.68 m wide: drawer bay on the left, door bay on the right, a plate on top."""
    _box(desk, "desk", (0.0, -0.36, 0.12), (0.20, 0.32, DESK_TOP_Z), name="desk_top")
    _box(desk, "desk_inside", (0.18, -0.36, 0.0), (0.20, 0.32, 0.12))
    for left, right in ((-0.36, -0.345), (0.045, 0.065), (0.305, 0.32)):
        _box(desk, "desk", (0.0, left, 0.0), (0.18, right, 0.12))
    _box(desk, "desk_inside", (0.0, -0.345, 0.0), (0.18, 0.045, 0.004), **NO_CONTACT)


def _add_drawer(desk: Element) -> None:
    drawer = add(desk, "body", name="drawer", pos=f"0 {DRAWER_Y} 0")
    add(
        drawer,
        "joint",
        name="drawer",
        type="slide",
        axis="-1 0 0",
        range=f"0 {DRAWER_TRAVEL}",
        damping="8",
        frictionloss="2",
        armature="0.3",
    )
    (front, right, floor), (back, left, rim) = DRAWER_LOW, DRAWER_HIGH
    _box(drawer, "drawer_inside", (0.0, right - 0.008, floor - 0.008), (back + 0.008, left + 0.008, floor))
    _box(drawer, "drawer", (-0.006, right - 0.011, floor - 0.008), (front, left + 0.011, 0.114))
    _box(drawer, "drawer", (back, right - 0.008, floor), (back + 0.008, left + 0.008, rim))
    for low, high in ((right - 0.008, right), (left, left + 0.008)):
        _box(drawer, "drawer", (front, low, floor), (back, high, rim))
    bar = DRAWER_BAR_X - DESK_FRONT_X
    for side in (-0.085, 0.085):
        _box(drawer, "handle", (bar, side - 0.006, DRAWER_BAR_Z - 0.006), (-0.006, side + 0.006, DRAWER_BAR_Z + 0.006))
    _box(
        drawer,
        "handle",
        (bar - 0.009, -0.095, DRAWER_BAR_Z - 0.014),
        (bar + 0.009, 0.095, DRAWER_BAR_Z + 0.010),
        name="drawer_bar",
    )


def _add_door(desk: Element) -> None:
    door = add(desk, "body", name="door", pos=f"0 {DOOR_Y} 0")
    add(
        door,
        "joint",
        name="door",
        type="slide",
        axis="0 1 0",
        range=f"0 {DOOR_TRAVEL}",
        damping="8",
        frictionloss="2",
        armature="0.3",
    )
    _box(door, "door", (-0.004, -0.095, 0.006), (0.010, 0.095, 0.118))
    handle = DOOR_HANDLE_X - DESK_FRONT_X
    _box(
        door,
        "door_handle",
        (handle - 0.016, -0.011, 0.03),
        (handle + 0.016, 0.011, DOOR_HANDLE_TOP_Z),
        name="door_handle",
    )
    _box(door, "door_handle", (handle, -0.007, 0.05), (-0.004, 0.007, 0.09))


def _add_switch(desk: Element) -> None:
    x, y = SWITCH_XY[0] - DESK_FRONT_X, SWITCH_XY[1]
    _box(desk, "metal", (x - 0.03, y - 0.045, DESK_TOP_Z), (x + 0.03, y + 0.045, DESK_TOP_Z + 0.006))
    lever = add(desk, "body", name="switch", pos=numbers(x, y, DESK_TOP_Z + 0.004), gravcomp="1")
    add(
        lever,
        "joint",
        name="switch",
        type="hinge",
        axis="0 1 0",
        range=f"{-SWITCH_TRAVEL_RAD} {SWITCH_TRAVEL_RAD}",
        damping="0.02",
        frictionloss="0.05",
        armature="0.002",
    )
    _box(lever, "switch", (-0.005, -0.008, 0.0), (0.005, 0.008, SWITCH_LENGTH))
    _box(lever, "switch", (-0.007, -0.035, 0.030), (0.007, 0.035, SWITCH_LENGTH), name="switch_paddle")
    lamp = (LAMP_XYZ[0] - DESK_FRONT_X, LAMP_XYZ[1], LAMP_XYZ[2])
    add(desk, "geom", type="sphere", name="lamp", pos=numbers(*lamp), size="0.042", material="lamp_off", **NO_CONTACT)
    ends = numbers(lamp[0], lamp[1], DESK_TOP_Z, lamp[0], lamp[1], lamp[2])
    add(desk, "geom", type="cylinder", fromto=ends, size="0.012", material="metal", **FIXTURE_CONTACT)


def _add_button(desk: Element) -> None:
    x, y = BUTTON_XY[0] - DESK_FRONT_X, BUTTON_XY[1]
    _box(desk, "metal", (x - 0.042, y - 0.042, DESK_TOP_Z), (x + 0.042, y + 0.042, DESK_TOP_Z + 0.006), **NO_CONTACT)
    button = add(desk, "body", name="button", pos=numbers(x, y, DESK_TOP_Z + BUTTON_HEIGHT), gravcomp="1")
    add(
        button,
        "joint",
        name="button",
        type="slide",
        axis="0 0 -1",
        range=f"0 {BUTTON_TRAVEL}",
        stiffness="200",
        springref="-0.005",
        damping="6",
        armature="0.05",
    )
    add(
        button,
        "geom",
        type="cylinder",
        name="button_cap",
        fromto=numbers(0, 0, -0.01, 0, 0, 0),
        size="0.032",
        material="button",
        **FIXTURE_CONTACT,
    )
    led = (LED_XYZ[0] - DESK_FRONT_X, LED_XYZ[1], LED_XYZ[2])
    add(desk, "geom", type="sphere", name="led", pos=numbers(*led), size="0.032", material="led_off", **NO_CONTACT)
    _box(
        desk,
        "metal",
        (led[0] - 0.035, led[1] - 0.035, DESK_TOP_Z),
        (led[0] + 0.035, led[1] + 0.035, DESK_TOP_Z + 0.008),
        **NO_CONTACT,
    )


def _add_block(world: Element, name: str) -> None:
    body = add(world, "body", name=name, pos=f"0.4 {0.1 * BLOCKS.index(name) - 0.2:.3f} 0.05")
    add(body, "freejoint", name=name)
    add(
        body,
        "geom",
        name=name,
        type="box",
        size=numbers(*BLOCK_HALF_SIZES[name]),
        material=name,
        density="400",
        friction="0.9 0.01 0.001",
        condim="4",
        **BLOCK_CONTACT,
    )
