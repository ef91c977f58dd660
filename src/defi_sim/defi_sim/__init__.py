"""The simulated table: MuJoCo scene, cameras, tasks with oracles, scripted experts, emulated controllers. No ROS."""

import os
import sys
from ctypes.util import find_library

# MuJoCo reads MUJOCO_GL when it is imported, by whichever module comes first; EGL is the quicker of the two that need no
# display.
if sys.platform.startswith("linux") and "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
    os.environ["MUJOCO_GL"] = "egl" if find_library("EGL") or not find_library("OSMesa") else "osmesa"
# Mesa's software renderer draws such small images sooner in the thread that asks than with threads of its own, which
# wait for cores that inference and control use; a graphics card does not read this.
os.environ.setdefault("LP_NUM_THREADS", "0")


def robot_description() -> str:
    """The URDF of the simulated Franka Panda; see `defi_sim.description`."""
    from defi_sim.description import robot_description as read

    return read()
