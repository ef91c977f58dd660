"""Packaging of defi_models; pins live in requirements/."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "defi_models"
WEIGHTS = sorted(str(path.relative_to(NAME)) for path in Path(NAME, "weights").rglob("*") if path.is_file())

setup(
    name=NAME,
    version="0.1.0",
    description="Contract, models, training and evaluation of DeFI; no ROS.",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "."},
    packages=find_packages(),
    package_data={NAME: WEIGHTS},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=[
        "accelerate",
        "av",
        "numpy",
        "pyarrow",
        "pyyaml",
        "rich",
        "safetensors",
        "tensorboard",
        "torch",
        "webdataset",
    ],
    extras_require={"cluster": ["ray[data]"]},
    zip_safe=False,
    entry_points={
        "console_scripts": ["defi = defi_models.cli:main"],
        "defi.commands": [
            "train = defi_models.training.command:Train",
            "eval = defi_models.evaluation.command:Eval",
            "correct = defi_models.evaluation.corrections:Correct",
            "imagine = defi_models.inference.command:Imagine",
            "export = defi_models.export:Export",
            "inspect = defi_models.inspection:Inspect",
            "claim = defi_models.experiment.command:Claim",
            "import-official = defi_models.official:ImportOfficial",
            "data = defi_models.datasets.command:Data",
        ],
    },
)
