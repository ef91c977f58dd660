"""Packaging of defi_ros: the nodes, and the launch and configuration files installed into share/defi_ros."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "defi_ros"
NODES = ("action", "arm_bridge", "camera", "imagination", "inference", "sim", "stop_guard", "task", "teleop")
ROOT = Path("..", "..")  # launch/ and config/ lie beside src/, where people look for them


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """What to install of a folder beside src/: one entry for each of its folders."""
    files = [path for path in sorted(Path(ROOT, folder).rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    parents = sorted({path.parent for path in files})
    return [
        (f"share/{NAME}/{parent.relative_to(ROOT)}", [str(path) for path in files if path.parent == parent])
        for parent in parents
    ]


setup(
    name=NAME,
    version="0.1.0",
    description="The ROS 2 control stack of DeFI: control core, drivers, nodes, bring-up.",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "."},
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared("launch"),
        *shared("config"),
    ],
    install_requires=["defi_models", "numpy", "pin", "pyyaml", "rich", "ruckig"],
    zip_safe=False,
    entry_points={
        "console_scripts": [f"{node}_node = {NAME}.nodes.{node}_node:main" for node in NODES],
        "defi.commands": ["arm = defi_ros.cli.arm:Arm", "teleop = defi_ros.cli.teleop:Teleop", "up = defi_ros.up:Up"],
    },
)
