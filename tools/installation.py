"""The steps of the set-up in their order. Knows what each depends on, so that only what changed is done again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import interfaces
import machine
from steps import Journal, SetupError, Stamps, Step, contents

VERSION = "2"  # raise it when a step does something else with the same inputs
NANO = "src/defi_models/defi_models/weights/nano/checkpoint.json"
EDITABLE = ("defi_models", "defi_sim", "defi_ros")
IMPORTS = (
    "import control_msgs.action, defi_msgs.action, defi_msgs.msg, defi_msgs.srv, rclpy, tf2_msgs.msg; "
    "import cv2, mujoco, numpy, onnxruntime, pinocchio, ruckig, torch; import defi_models.contract, defi_ros, defi_sim"
)


class Installation:
    """One virtual environment, `.venv`, and how far it has come."""

    def __init__(self, root: Path, journal: Journal, lock: int):
        self.root = root
        self.venv = root / ".venv"
        self.journal = journal
        self.lock = lock
        self.ros = machine.sourced_ros()
        self.stamps = Stamps(self.venv / ".setup")
        self.torch_index = os.environ.get("TORCH_INDEX_URL", "").strip()

    def run(self) -> None:
        """Does what is due.

        Raises:
            SetupError: a step failed.
        """
        steps = self.steps()
        if all(self.stamps.is_done(step) for step in steps):
            return
        started = time.monotonic()
        source = f"the sourced ROS 2 {self.ros}" if self.ros else "ROS 2 Kilted from wheels"
        print(f"make setup: Python {sys.version.split()[0]}, {source}; log in {self.journal.log}", flush=True)
        self.journal.begin()
        with self.journal.line("what this machine has"):
            self.check_machine(steps)
        for step in steps:
            if self.stamps.is_done(step):
                continue
            self.stamps.begin(step)
            with self.journal.line(step.name):
                step.action()
            self.stamps.end(step)
        print(
            f"make setup: ready after {time.monotonic() - started:.0f} s; next: `make demo`, or `.venv/bin/defi --help`"
        )

    def steps(self) -> list[Step]:
        """All steps; each lists what its result depends on."""
        to_build = interfaces.packages_to_build(self.ros)
        environment = [VERSION, str(self.root), str(sys.version_info[:2]), sys.base_prefix, self.ros or "wheels"]
        wheels = contents(self.root, "requirements/ros-wheels.txt", "requirements/build.txt")
        definitions = [text for folder in to_build for text in contents(self.root / folder, "*.*", "*/*.*")]
        packaging = [VERSION, *contents(self.root, "src/*/setup.py", "src/*/setup.cfg", "src/*/package.xml")]
        requirements = contents(self.root, "requirements/*.txt")
        models = contents(
            self.root, NANO, "src/defi_models/defi_models/export.py", "src/defi_models/defi_models/models/*.py"
        )
        return [
            Step("virtual environment", environment, self.make_environment),
            Step("torch", [*self.torch_requirement(), self.torch_index], self.install_torch),
            Step("packages", requirements, self.install_requirements),
            Step("messages", [*wheels, *definitions, *to_build], self.build_messages),
            Step("this project", packaging, self.install_packages),
            Step("graphs of the nano policy", [*models, *requirements], self.export_nano),
            Step("trying all imports", [*requirements, *definitions, *packaging], self.check_imports),
        ]

    def check_machine(self, steps: Sequence[Step]) -> None:
        """Refuses early what would fail late; installs Debian's packages when it may."""
        machine.install_needs(self.execute)
        if not all(self.stamps.is_done(step) for step in steps[:3]):
            machine.check_disk(self.root)

    def make_environment(self) -> None:
        """Makes .venv; keeps one that works and was made the same way, replaces any other."""
        if self.venv.exists() and not self.is_usable():
            shutil.rmtree(self.venv)
        if not self.venv.exists():
            options = ["--system-site-packages"] if self.ros else []
            self.execute([machine.base_python(), "-m", "venv", *options, self.venv])
        if self.ros:
            interfaces.install_prefix_hook(self.venv)

    def is_usable(self) -> bool:
        """Whether .venv is whole, of this Python, in this folder, and sees ROS 2 from where it shall."""
        try:
            config = (self.venv / "pyvenv.cfg").read_text(encoding="utf-8")
        except OSError:
            return False
        sees_system = re.search(r"include-system-site-packages\s*=\s*true", config) is not None
        question = "import pip, sys; print(sys.version_info[:2], sys.base_prefix, sys.prefix)"
        try:
            answer = subprocess.run([self.python, "-c", question], capture_output=True, text=True, check=False)
        except OSError:  # the interpreter it was made from is gone
            return False
        expected = f"{sys.version_info[:2]} {sys.base_prefix} {self.venv}"
        return sees_system == bool(self.ros) and answer.stdout.strip() == expected

    def install_torch(self) -> None:
        """Installs torch first, since it alone may come from an index of its own (TORCH_INDEX_URL)."""
        self.forget_half_installed()
        index = ["--index-url", self.torch_index] if self.torch_index else []
        self.pip("install", *index, *self.torch_requirement())

    def install_requirements(self) -> None:
        """Installs the pinned packages; beside a sourced ROS 2 without those it brings itself."""
        self.forget_half_installed()
        files = ["runtime.txt", "build.txt", "development.txt", *([] if self.ros else ["ros-wheels.txt"])]
        lines = [line for file in files for line in self.requirements(file)]
        if self.ros:
            lines = beside_ros(lines)
        chosen = self.root / ".cache" / "requirements.txt"
        chosen.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.pip("install", "-r", str(chosen))

    def build_messages(self) -> None:
        """Builds defi_msgs, and the interface packages that this ROS 2 lacks."""
        if not self.ros:
            question = "import numpy, sysconfig; print(sysconfig.get_path('include')); print(numpy.get_include())"
            answer = subprocess.run([self.python, "-c", question], capture_output=True, text=True, check=True)
            interfaces.repair_wheels(self.venv, *answer.stdout.split("\n")[:2])
        packages = interfaces.packages_to_build(self.ros)
        interfaces.build(self.root, self.venv, packages, self.execute, self.journal.progress)

    def install_packages(self) -> None:
        """Installs the packages of src/ editable, so that a changed file needs no set-up."""
        sources = [word for name in EDITABLE for word in ("-e", str(self.root / "src" / name))]
        # Without --use-pep517 an older pip obeys setup.cfg, which is colcon's, and puts `defi` where no shell finds it.
        self.pip("install", "--no-deps", "--no-build-isolation", "--use-pep517", *sources)
        interfaces.link_shares(self.root, self.venv)

    def export_nano(self) -> None:
        """Writes the shipped policy's graphs for onnxruntime, which its weights alone do not hold."""
        self.execute([self.venv / "bin" / "defi", "export", "nano"])

    def check_imports(self) -> None:
        """Imports everything once; a library that is missing shows here and not in the middle of a demo."""
        self.execute([self.python, "-c", IMPORTS])

    def forget_half_installed(self) -> None:
        """Removes what a killed pip left: it would take a package without RECORD for installed."""
        packages = interfaces.site_packages(self.venv)
        for info in packages.glob("*.dist-info"):
            if not (info / "RECORD").is_file():
                shutil.rmtree(info)
        for leftover in packages.glob("~*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def requirements(self, file: str) -> list[str]:
        """The lines of a requirements file."""
        text = (self.root / "requirements" / file).read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]

    def torch_requirement(self) -> list[str]:
        """The pin of torch."""
        return [line.split("#")[0].strip() for line in self.requirements("runtime.txt") if line.startswith("torch==")]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    def pip(self, *arguments: str) -> None:
        """Runs the environment's pip."""
        quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        self.execute([self.python, "-m", "pip", arguments[0], *quiet, *arguments[1:]])

    def execute(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        """Runs a command into the log, telling `heard` each line of it."""
        self.journal.run(command, self.lock, env, self.root, heard)


def beside_ros(lines: Sequence[str]) -> list[str]:
    """The requirements beside a sourced ROS 2: its messages were compiled against its own numpy, which must stay.

    Raises:
        SetupError: its Python has no numpy.
    """
    question = "import numpy; print(numpy.__version__)"
    answer = subprocess.run([machine.base_python(), "-c", question], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupError(
            "the sourced ROS 2 has no numpy; run `sudo apt-get install -y python3-numpy` and `make setup` again"
        )
    own = [line for line in lines if not line.startswith("numpy==")]
    if machine.can_import("cv2"):
        own = [line for line in own if not line.startswith("opencv-python-headless==")]
    return [f"numpy=={answer.stdout.strip()}", *own]
