"""The simulated Franka's robot file, changed as a site would change it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from defi_ros.robot import robots_folder


def site_file(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes the robot file with other values, section by section. A driver begins anew: its topics depend on its kind."""
    robot = yaml.safe_load((robots_folder() / "franka.yaml").read_text(encoding="utf-8"))
    if "driver" in changes:
        robot["driver"] = {"base_frame": robot["driver"]["base_frame"]}
    for section, values in changes.items():
        robot[section] |= values
    path.write_text(yaml.safe_dump(robot, sort_keys=False), encoding="utf-8")
    return path
