"""package.xml lists what the code imports, and colcon installs what people look for."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("defi_models", "defi_ros", "defi_sim")
# Module -> rosdep key, where they differ.
KEYS = {
    "cv2": "python3-opencv", "numpy": "python3-numpy", "pinocchio": "pinocchio", "psutil": "python3-psutil",
    "rich": "python3-rich", "scipy": "python3-scipy", "typing_extensions": "python3-typing-extensions",
    "yaml": "python3-yaml",
}  # fmt: skip
# No rosdep key in Jazzy or Kilted, or one whose version is years behind (torch): `make setup` installs or builds these.
WITHOUT_KEY = {
    "accelerate", "av", "diffusers", "evdev", "franka_msgs", "mujoco", "onnxruntime", "pyarrow", "pyrealsense2", "ray",
    "ruckig", "safetensors", "tokenizers", "torch", "transformers", "webdataset",
}  # fmt: skip
# The simulator uses the control core's kinematics, and sim_node the simulator; packages may not depend on each other.
OTHER_WAY = {"defi_ros": {"defi_sim"}, "defi_models": {"defi_ros", "defi_sim"}}


def imported(package):
    """Top-level modules that a package imports and that are neither its own nor Python's."""
    found = set()
    for path in (ROOT / "src" / package / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.split(".")[0])
    return found - {package} - set(sys.stdlib_module_names)


def depends(package):
    root = ElementTree.parse(ROOT / "src" / package / "package.xml").getroot()
    return {element.text for element in root if element.tag in ("depend", "exec_depend")}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_xml_lists_what_is_imported(package):
    modules = imported(package) - WITHOUT_KEY - OTHER_WAY.get(package, set())
    assert {KEYS.get(module, module) for module in modules} - depends(package) == set()


@pytest.mark.slow
def test_colcon_builds_the_workspace_with_launch_files_robots_and_nodes(tmp_path):
    """Without defi_msgs, which `make setup` builds by the same colcon."""
    built = subprocess.run(
        [
            sys.executable, "-m", "colcon", "--log-base", tmp_path / "log", "build", "--base-paths", ROOT / "src",
            "--packages-ignore", "defi_msgs", "--build-base", tmp_path / "build", "--install-base", tmp_path / "install",
            "--merge-install", "--executor", "sequential",
        ],
        env={**os.environ, "AMENT_PREFIX_PATH": sys.prefix},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    share = tmp_path / "install" / "share" / "defi_ros"
    for folder, pattern in (("launch", "*.launch.py"), ("config/robots", "*.yaml")):
        assert sorted(path.name for path in (share / folder).glob(pattern)) == sorted(
            path.name for path in (ROOT / folder).glob(pattern)
        )
    executables = {path.name for path in (tmp_path / "install" / "lib" / "defi_ros").iterdir()}
    nodes = {path.stem for path in (ROOT / "src/defi_ros/defi_ros/nodes").glob("*_node.py")}
    assert executables >= nodes
    assert {path.name for path in (share.parent / "ament_index/resource_index/packages").iterdir()} >= set(PACKAGES)
