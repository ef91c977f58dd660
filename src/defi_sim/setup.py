"""Packaging of defi_sim; pins live in requirements/."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "defi_sim"
ASSETS = sorted(
    str(path.relative_to(NAME)) for path in Path(NAME).rglob("*") if path.is_file() and "__pycache__" not in path.parts
)

setup(
    name=NAME,
    version="0.1.0",
    description="The simulated table and arm of DeFI: MuJoCo scene, tasks, scripted experts; no ROS.",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "."},
    packages=find_packages(),
    package_data={NAME: [asset for asset in ASSETS if not asset.endswith(".py")]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["defi_models", "example-robot-data", "mujoco", "numpy", "pin", "scipy"],
    zip_safe=False,
)
