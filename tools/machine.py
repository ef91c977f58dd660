"""What the machine must have before anything is installed: disk, compiler, libraries, a Python that fits. Asks, never assumes."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps import SetupError

NEEDED_GB = 6.0  # torch, MuJoCo, robot meshes and ROS 2 unpack to 3.5 GB; pip holds the wheels beside them meanwhile
PYTHON = f"python3.{sys.version_info.minor}"


@dataclass(frozen=True)
class Need:
    """Something that pip cannot install.

    Attributes:
        name: What it is, for a person.
        packages: Debian's packages that bring it.
        is_there: Whether the machine has it.
    """

    name: str
    packages: tuple[str, ...]
    is_there: Callable[[], bool]


def has_library(*names: str) -> bool:
    """Whether the loader finds one of these shared libraries."""
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _has_headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


NEEDS: tuple[Need, ...] = (
    Need("a C++ compiler", ("g++",), lambda: shutil.which("g++") is not None),
    Need("cmake", ("cmake",), lambda: shutil.which("cmake") is not None),
    Need("make", ("make",), lambda: shutil.which("make") is not None),
    Need("virtual environments", (f"{PYTHON}-venv",), lambda: importlib.util.find_spec("ensurepip") is not None),
    Need("Python's headers", (f"{PYTHON}-dev",), _has_headers),
    Need("EGL, to render without a display", ("libegl1", "libgl1"), lambda: has_library("libEGL.so.1")),
    Need(
        "Mesa or a GPU driver behind EGL",
        ("libegl-mesa0", "libgl1"),
        lambda: has_library("libEGL_mesa.so.0", "libEGL_nvidia.so.0"),
    ),
    Need("OpenGL", ("libgl1",), lambda: has_library("libGL.so.1")),
    Need("OSMesa, to render where EGL fails", ("libosmesa6",), lambda: has_library("libOSMesa.so.8", "libOSMesa.so.6")),
    Need("libusb, for cameras", ("libusb-1.0-0",), lambda: has_library("libusb-1.0.so.0")),
)


def missing_needs(needs: Sequence[Need] = NEEDS) -> list[Need]:
    """What this machine lacks."""
    return [need for need in needs if not need.is_there()]


def install_needs(run: Callable[[Sequence[str]], None], needs: Sequence[Need] = NEEDS) -> None:
    """Installs what is missing by apt when root; otherwise says the one command that does.

    Raises:
        SetupError: something is missing and may not, or cannot, be installed from here.
    """
    missing = missing_needs(needs)
    if not missing:
        return
    packages = sorted({package for need in missing for package in need.packages})
    names = ", ".join(need.name for need in missing)
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"this machine lacks {names}, and has no apt-get; install what Debian calls "
            f"{' '.join(packages)} with its own package manager and run `make setup` again"
        )
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        raise SetupError(
            f"this machine lacks {names}; run\n\n"
            f"    sudo apt-get update && sudo {' '.join(command)}\n\n  and then `make setup` again"
        )
    run(["apt-get", "update"])
    run(["env", "DEBIAN_FRONTEND=noninteractive", *command])
    still = missing_needs(needs)
    if still:
        raise SetupError(
            f"this machine still lacks {', '.join(need.name for need in still)} after installing {' '.join(packages)}; "
            f"for another Python use `make setup PYTHON=/usr/bin/python3`"
        )


def check_disk(folder: Path, needed_gb: float = NEEDED_GB) -> None:
    """Refuses to start what the disk cannot hold.

    Raises:
        SetupError: less than `needed_gb` are free [GB = 1e9 bytes].
    """
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise SetupError(
            f"got {free_gb:.1f} GB of free disk space at {folder}, expected {needed_gb:.0f} GB; "
            "make room (`pip cache purge` may help) and run `make setup` again"
        )


def base_python() -> Path:
    """The interpreter itself, also when this runs inside a virtual environment."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def can_import(module: str) -> bool:
    """Whether the interpreter, with the environment of this shell, imports a module."""
    command = [str(base_python()), "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def sourced_ros() -> str | None:
    """The ROS 2 distribution that this shell has sourced, or None: then ROS 2 comes as wheels.

    Raises:
        SetupError: one is sourced, but made for another Python.
    """
    distro = os.environ.get("ROS_DISTRO", "").strip()
    if not distro:
        return None
    if can_import("rclpy"):
        return distro
    raise SetupError(
        f"ROS 2 {distro} is sourced (ROS_DISTRO), but {base_python()} (Python {sys.version.split()[0]}) cannot import rclpy; "
        "run `make setup PYTHON=/usr/bin/python3` to use that ROS 2, or `env -u ROS_DISTRO -u PYTHONPATH make setup` "
        "to use ROS 2 from wheels"
    )
