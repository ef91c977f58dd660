"""The Franka Panda as a MuJoCo model: links and joints read from its URDF, servos of a stiff joint position interface.

Collision geometry is the hand and the fingertips only; the arm's links are drawn but touch nothing.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from defi_sim.description import ARM_JOINTS, FINGER_JOINTS, TIP_FRAME, collision_mesh, robot_description
from defi_sim.mjcf import add, section

ROBOT_CONTACT = {"contype": "1", "conaffinity": "6"}
NO_CONTACT = {"contype": "0", "conaffinity": "0"}
FINGER_TRAVEL_M = 0.04

# Stiffness [Nm/rad] of the emulated position interface. A real one is stiffer still; these keep 2 ms steps calm and
# the set point followed within about 30 ms.
STIFFNESS_NM_RAD = (6000.0, 6000.0, 5000.0, 5000.0, 1500.0, 1500.0, 1000.0)
DAMPING_RATIO = 0.9
# Rotor inertia seen at the joint [kg m^2]; of the order published for the Panda's drives (0.2 .. 0.6).
ARMATURE_KG_M2 = (0.4, 0.4, 0.4, 0.4, 0.15, 0.15, 0.1)
JOINT_DAMPING_NM_S_RAD = 1.0
GRIPPER_STIFFNESS_N_M = 2500.0  # closes on a 4 cm block with about 25 N a finger
GRIPPER_DAMPING_N_S_M = 250.0  # full travel takes about 0.3 s


def add_arm(world: Element, root: Element) -> None:
    """Adds the Panda, its hand and its servos to the MJCF document `root`, based at the origin of `world`."""
    urdf = ElementTree.fromstring(robot_description())
    links = {link.get("name", ""): link for link in urdf.iter("link")}
    asset, actuators = section(root, "asset"), section(root, "actuator")
    for mesh in (*(f"link{number}" for number in range(8)), "hand", "finger"):
        add(asset, "mesh", name=mesh, file=str(collision_mesh(mesh)))
    joints = {joint.get("name", ""): joint for joint in urdf.iter("joint")}

    parent = _add_link(world, links["panda_link0"], "link0", None)
    for number, name in enumerate(ARM_JOINTS, start=1):
        joint = joints[name]
        parent = _add_link(parent, links[f"panda_link{number}"], f"link{number}", joint)
        _add_servo(parent, actuators, joint, number - 1)
    hand = _add_hand(parent, links, joints)
    for name, link, side in zip(FINGER_JOINTS, ("panda_leftfinger", "panda_rightfinger"), (1.0, -1.0), strict=True):
        _add_finger(hand, links[link], joints[name], side)
    _add_gripper_servo(root, actuators)


def _pose(joint: Element | None) -> dict[str, str]:
    """MJCF `pos` and `quat` of a URDF joint's origin."""
    origin = None if joint is None else joint.find("origin")
    if origin is None:
        return {}
    roll, pitch, yaw = (float(value) / 2 for value in origin.get("rpy", "0 0 0").split())
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    quat = (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )
    return {"pos": origin.get("xyz", "0 0 0"), "quat": " ".join(f"{value:.9g}" for value in quat)}


def _add_link(parent: Element, link: Element, mesh: str, joint: Element | None) -> Element:
    body = add(parent, "body", name=link.get("name", ""), gravcomp="1", **_pose(joint))
    _add_inertia(body, link)
    add(body, "geom", type="mesh", mesh=mesh, material="arm", **NO_CONTACT)
    return body


def _add_inertia(body: Element, link: Element) -> None:
    inertial = link.find("inertial")
    if inertial is None:
        return
    mass, origin, inertia = inertial.find("mass"), inertial.find("origin"), inertial.find("inertia")
    if mass is None or origin is None or inertia is None:
        return
    terms = " ".join(inertia.get(term, "0") for term in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
    add(body, "inertial", pos=origin.get("xyz", "0 0 0"), mass=mass.get("value", "0"), fullinertia=terms)


def _limit(joint: Element) -> Element:
    limit = joint.find("limit")
    assert limit is not None, f"URDF joint {joint.get('name')} has no limit"
    return limit


def _add_servo(body: Element, actuators: Element, joint: Element, index: int) -> None:
    limit, name = _limit(joint), joint.get("name", "")
    travel = f"{limit.get('lower')} {limit.get('upper')}"
    add(
        body,
        "joint",
        name=name,
        axis="0 0 1",
        range=travel,
        armature=str(ARMATURE_KG_M2[index]),
        damping=str(JOINT_DAMPING_NM_S_RAD),
    )
    effort = float(limit.get("effort", "0"))
    add(
        actuators,
        "position",
        name=name,
        joint=name,
        kp=str(STIFFNESS_NM_RAD[index]),
        dampratio=str(DAMPING_RATIO),
        ctrlrange=travel,
        forcerange=f"{-effort} {effort}",
    )


def _add_hand(flange: Element, links: dict[str, Element], joints: dict[str, Element]) -> Element:
    mount = add(flange, "body", name="panda_link8", **_pose(joints["panda_joint8"]))
    hand = add(mount, "body", name="panda_hand", gravcomp="1", **_pose(joints["panda_hand_joint"]))
    _add_inertia(hand, links["panda_hand"])
    add(hand, "geom", type="mesh", mesh="hand", material="hand", **NO_CONTACT)
    # A box around the hand's body, from its measures in the mesh: 0.204 m wide, 0.063 m thick, up to 0.066 m.
    add(hand, "geom", type="box", pos="0 0 0.03", size="0.03 0.1 0.036", group="3", **ROBOT_CONTACT)
    add(hand, "site", name=TIP_FRAME, size="0.005", group="4", **_pose(joints["panda_hand_tcp_joint"]))
    return hand


def _add_finger(hand: Element, link: Element, joint: Element, side: float) -> None:
    finger = add(hand, "body", name=link.get("name", ""), gravcomp="1", **_pose(joint))
    add(finger, "inertial", pos="0 0 0.03", mass="0.015", diaginertia="1e-5 1e-5 1e-5")
    add(
        finger,
        "joint",
        name=joint.get("name", ""),
        type="slide",
        axis=f"0 {side:g} 0",
        range=f"0 {FINGER_TRAVEL_M}",
        armature="0.1",
        damping="5",
    )
    turned = "1 0 0 0" if side > 0 else "0 0 0 1"
    add(finger, "geom", type="mesh", mesh="finger", material="finger", quat=turned, **NO_CONTACT)
    # The rubber tip as in the URDF, drawn out upwards over the finger's length so that handles cannot slip past it.
    add(
        finger,
        "geom",
        name=f"{link.get('name', '')}_tip",
        type="box",
        pos=f"0 {side * 0.0076} 0.0373",
        size="0.00875 0.0076 0.0172",
        material="fingertip",
        friction="1.5 0.02 0.001",
        condim="4",
        priority="1",
        **ROBOT_CONTACT,
    )


def _add_gripper_servo(root: Element, actuators: Element) -> None:
    fixed = add(section(root, "tendon"), "fixed", name="gripper")
    for name in FINGER_JOINTS:
        add(fixed, "joint", joint=name, coef="0.5")
    equal = section(root, "equality")
    add(equal, "joint", joint1=FINGER_JOINTS[0], joint2=FINGER_JOINTS[1], solimp="0.95 0.99 0.001", solref="0.005 1")
    add(
        actuators,
        "position",
        name="gripper",
        tendon="gripper",
        kp=str(GRIPPER_STIFFNESS_N_M),
        kv=str(GRIPPER_DAMPING_N_S_M),
        ctrlrange=f"0 {FINGER_TRAVEL_M}",
        forcerange="-100 100",
    )
