import json
import threading

import pytest

from defi_models.contract import ConfigError
from defi_ros.up.report import BridgeFigures, Report, TaskResult, check_writable, percentiles, write_json

KEYS = {
    "robot", "ros_distro", "rmw", "policy", "tasks", "camera_to_command_ms", "gfdm_ms", "gidm_ms", "chunk_rate_hz",
    "command_rate_hz", "command_jitter_ms", "limit_violations", "stale_refusals", "exit_reasons",
}  # fmt: skip


def test_a_report_of_nothing_has_every_key_and_invents_no_number():
    report = Report("franka").to_mapping()
    assert set(report) == KEYS
    assert report["gfdm_ms"] == {"p50": None, "p99": None}
    assert report["camera_to_command_ms"] == {"p50": None, "p99": None, "n": 0}
    assert report["command_rate_hz"] is None


def test_a_task_is_reported_with_its_reason():
    report = Report("franka", tasks=[TaskResult("open the drawer", False, 30.00049, "timeout")]).to_mapping()
    assert report["tasks"] == [
        {"instruction": "open the drawer", "success": False, "duration_s": 30.0, "reason": "timeout"}
    ]


def test_the_chunk_rate_leaves_out_the_pauses_between_tasks():
    report = Report("franka")
    for received_s in (0.0, 0.2, 0.4, 60.0, 60.2, 60.4):
        report.add_chunk(received_s, 30.0, 20.0)
    assert report.chunk_rate_hz == pytest.approx(5.0)


def test_percentiles_are_of_all_samples():
    assert percentiles([float(n) for n in range(101)]) == {"p50": 50.0, "p99": 99.0}


def test_the_bridge_figures_are_the_newest():
    report = Report("franka", bridge=BridgeFigures(command_rate_hz=200.0, jitter_max_ms=3.0, camera_to_command_n=4))
    values = report.to_mapping()
    assert values["command_rate_hz"] == 200.0
    assert values["command_jitter_ms"]["max"] == 3.0
    assert values["camera_to_command_ms"]["n"] == 4


def test_a_reader_sees_the_old_report_or_the_whole_new_one(tmp_path):
    path = tmp_path / "report.json"
    write_json({"n": 0}, path)
    done = threading.Event()

    def write():
        for n in range(100):
            write_json({"n": n, "padding": "x" * 10_000}, path)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert "n" in json.loads(path.read_text())
    thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.json"
    write_json({"n": 0}, path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"n": float("nan")}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
    assert json.loads(path.read_text()) == {"n": 0}


def test_a_report_in_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        check_writable(tmp_path / "none" / "report.json")
    with pytest.raises(ConfigError, match="which is a folder"):
        check_writable(tmp_path)
