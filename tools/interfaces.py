"""Builds the message packages into the virtual environment, and makes ROS tools find ours there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from machine import can_import

OWN = "src/defi_msgs"
COMPATIBLE = {
    "control_msgs": "control_msgs.action",
    "controller_manager_msgs": "controller_manager_msgs.srv",
    "franka_msgs": "franka_msgs.action",
    "moveit_msgs": "moveit_msgs.srv",
    "tf2_msgs": "tf2_msgs.msg",
    "ur_dashboard_msgs": "ur_dashboard_msgs.msg",
}
BEGUN = re.compile(r"Starting >>> (\S+)")  # what colcon says when it begins a package
PYTHON_INCLUDE = re.compile(r"/opt/python/cp\d+-cp\d+\w*/include/python3\.\d+\w*")
NUMPY_INCLUDE = re.compile(r"/opt/python/cp\d+-cp\d+\w*/lib/python3\.\d+\w*/site-packages/numpy/_?core/include")

# Runs at every start of the environment's Python. The loader reads LD_LIBRARY_PATH only at the start of a process,
# hence the second start; the ROS wheels do the same for themselves.
PREFIX_MODULE = '''\
"""Lets messages built into this environment be found; written by tools/interfaces.py where ROS 2 is sourced."""

import os
import sys


def missing(variable, folder):
    return folder not in os.environ.get(variable, "").split(os.pathsep)


if missing("LD_LIBRARY_PATH", sys.prefix + "/lib") or missing("AMENT_PREFIX_PATH", sys.prefix):
    for variable, folder in (("LD_LIBRARY_PATH", sys.prefix + "/lib"), ("AMENT_PREFIX_PATH", sys.prefix)):
        if missing(variable, folder):
            os.environ[variable] = os.pathsep.join(filter(None, (folder, os.environ.get(variable))))
    os.execv(sys.executable, sys.orig_argv)
'''


def packages_to_build(ros: str | None) -> list[str]:
    """Folders of the interface packages that this environment needs; an installed one is never shadowed."""
    compatible = [name for name, module in COMPATIBLE.items() if ros is None or not can_import(module)]
    return [OWN, *(f"src/compat_msgs/{name}" for name in compatible)]


def repair_wheels(venv: Path, python_include: str, numpy_include: str) -> int:
    """Rewrites include paths of the machine that built the ROS wheels to this environment's; returns files changed."""
    changed = 0
    for path in sorted((venv / "share").rglob("*.cmake")):
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        after = PYTHON_INCLUDE.sub(python_include, NUMPY_INCLUDE.sub(numpy_include, before))
        if after != before:
            path.write_text(after, encoding="utf-8", errors="surrogateescape")
            changed += 1
    return changed


def build(
    root: Path,
    venv: Path,
    packages: Sequence[str],
    run: Callable[[Sequence[str | Path], Mapping[str, str], Callable[[str], None]], None],
    progress: Callable[[str], None],
) -> None:
    """Builds interface packages into the environment, so that there is nothing to source; tells `progress` of each begun.

    Starts from an empty build folder: a half-written object file of a killed build would be taken for a whole one.
    """
    builds = root / ".cache" / "build"
    shutil.rmtree(builds, ignore_errors=True)
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(venv / "bin"), env.get("PATH", "")])
    for variable in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        env[variable] = os.pathsep.join(filter(None, [str(venv), env.get(variable)]))
    command: list[str | Path] = [venv / "bin" / "python", "-m", "colcon"]
    command += ["--log-base", root / ".cache" / "colcon", "build"]
    command += ["--base-paths", *(root / package for package in packages)]
    command += ["--build-base", builds, "--merge-install", "--install-base", venv]
    command += ["--cmake-args", f"-DPython3_EXECUTABLE={venv / 'bin' / 'python'}", "-DBUILD_TESTING=OFF"]
    begun: list[str] = []

    def heard(line: str) -> None:
        if found := BEGUN.match(line):
            begun.append(found[1])
            progress(f"messages {len(begun)} of {len(packages)}: {found[1]}")

    run(command, env, heard)


def site_packages(venv: Path) -> Path:
    """Where the environment's Python packages are."""
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def install_prefix_hook(venv: Path) -> None:
    """Beside a sourced ROS 2: makes `.venv/bin/...` find the messages in the environment with nothing to source."""
    (site_packages(venv) / "defi_ros_prefix.py").write_text(PREFIX_MODULE, encoding="utf-8")
    (site_packages(venv) / "defi_ros_prefix.pth").write_text("import defi_ros_prefix\n", encoding="utf-8")


def link_shares(root: Path, venv: Path) -> None:
    """Makes ROS tools find launch files, robot files and nodes of the editable packages; links, so they never go stale."""
    index = venv / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True, exist_ok=True)
    for package in ("defi_models", "defi_ros", "defi_sim"):
        (index / package).touch()
        _link(root / "src" / package / "package.xml", venv / "share" / package / "package.xml")
    for folder in ("launch", "config"):
        _link(root / folder, venv / "share" / "defi_ros" / folder)
    for script in sorted((venv / "bin").glob("*_node")):
        _link(script, venv / "lib" / "defi_ros" / script.name)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source)
