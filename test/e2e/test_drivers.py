"""The whole simulated graph with another controller, chosen by a site's own robot file. All kinds: bench/drivers.py."""

from __future__ import annotations

import pytest
import yaml

from defi_ros.robot import robots_folder

TRIES = 3  # a robot whose computer does half its work falls behind what it is told, and the bridge lets go of it

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("kind", "task"), [("servo_pose", "turn on the lamp"), ("forward_velocity", "open the drawer")]
)
def test_a_site_s_file_with_another_driver_does_a_task_through_the_whole_graph(up, tmp_path, kind, task):
    site = yaml.safe_load((robots_folder() / "franka.yaml").read_text(encoding="utf-8"))
    site["driver"] = {"kind": kind, "base_frame": site["driver"]["base_frame"]}
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(site), encoding="utf-8")
    for _ in range(TRIES):
        running = up("--policy", "scripted", "--composed", "--task", task, "--seed", "1", robot=str(path))
        if running.end() == 0 or "too slow for real time" not in running.output:
            break
    assert running.end() == 0, running.output
    (result,) = running.report["tasks"]
    assert result["success"] and running.report["limit_violations"] == 0
    assert ("stop_guard_node" in running.report["exit_reasons"]) == (kind == "forward_velocity")
