"""Where the Franka Panda's description lies: its URDF and meshes come with the PyPI package `example-robot-data`.

Knows files only; what MuJoCo makes of them is in `defi_sim.arm`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from defi_models.contract import ConfigError

PACKAGE = "example-robot-data"
URDF_SUFFIX = "robots/panda_description/urdf/panda.urdf"
ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
TIP_FRAME = "panda_hand_tcp"
# Lower, upper [rad] and velocity [rad/s] of the joints of an FR3: franka_description, robots/fr3/joint_limits.yaml.
FR3_LIMITS = (
    (-2.7437, 2.7437, 2.62),
    (-1.7837, 1.7837, 2.62),
    (-2.9007, 2.9007, 2.62),
    (-3.0421, -0.1518, 2.62),
    (-2.8065, 2.8065, 5.26),
    (0.5445, 4.5169, 4.18),
    (-3.0159, 3.0159, 5.26),
)


def check_simulated(robot: str, joints: tuple[str, ...]) -> None:
    """Refuses a robot with other joints than the simulated one.

    Raises:
        ConfigError: so.
    """
    if joints != ARM_JOINTS:
        raise ConfigError(
            f"robot {robot!r} cannot be simulated, only the Franka Panda can: got joints {list(joints)}, "
            f"expected {list(ARM_JOINTS)}"
        )


@cache
def panda_directory() -> Path:
    """The folder that holds `urdf/` and `meshes/` of the Panda.

    Raises:
        ConfigError: the package is not installed, or carries no Panda.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as missing:
        raise ConfigError(
            f"the robot description: got no Python package {PACKAGE!r} in this environment, expected it to carry the "
            f"Franka Panda's URDF and meshes; install it with `pip install {PACKAGE}`"
        ) from missing
    for file in files:
        if file.as_posix().endswith(URDF_SUFFIX):
            return Path(str(file.locate())).resolve().parents[1]
    raise ConfigError(
        f"the robot description: got {PACKAGE!r} with {len(files)} files, none of them {URDF_SUFFIX!r}, "
        f"expected the Franka Panda's URDF; reinstall it with `pip install --force-reinstall {PACKAGE}`"
    )


@cache
def robot_description() -> str:
    """The URDF of the Franka Panda with its hand: joints panda_joint1..7, tool centre point `panda_hand_tcp`."""
    return (panda_directory() / "urdf" / "panda.urdf").read_text(encoding="utf-8")


def fr3_description() -> str:
    """The URDF of an FR3, as far as a bridge needs it: the Panda's geometry, which it shares, with limits of its own."""
    text = (panda_directory() / "urdf" / "panda.urdf").read_text(encoding="utf-8").replace("panda_", "fr3_")
    for number, (lower, upper, velocity) in enumerate(FR3_LIMITS, start=1):
        limit = (
            rf'(<joint name="fr3_joint{number}".*?<limit effort="[\d.]+") lower="[^"]*" upper="[^"]*" velocity="[^"]*"'
        )
        given = rf'\1 lower="{lower}" upper="{upper}" velocity="{velocity}"'
        text = re.sub(limit, given, text, count=1, flags=re.DOTALL)
    return text


def collision_mesh(name: str) -> Path:
    """The coarse convex mesh of one link (`link0`..`link7`, `hand`, `finger`): about 200 triangles, quick to draw.

    Raises:
        ConfigError: the package carries no such mesh.
    """
    path = panda_directory() / "meshes" / "collision" / f"{name}.stl"
    if not path.is_file():
        known = sorted(mesh.stem for mesh in path.parent.glob("*.stl"))
        raise ConfigError(f"the robot description: got no mesh {name!r}, expected one of {known} in {PACKAGE!r}")
    return path
