"""What the set-up says about a machine that lacks something."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import machine
import pytest
from machine import Need, check_disk, install_needs, sourced_ros
from steps import SetupError

SETUP = Path(__file__).resolve().parents[2] / "tools" / "setup.py"
COMPILER = Need("a C++ compiler", ("g++",), lambda: False)
CMAKE = Need("cmake", ("cmake",), lambda: False)
PRESENT = Need("make", ("make",), lambda: True)


def refuse(command):
    raise AssertionError(f"nothing may be run, got {command}")


def test_a_python_that_is_too_old_can_read_the_program_and_is_told_what_to_do():
    ast.parse(SETUP.read_text(), feature_version=(3, 7))
    code = f"import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path({str(SETUP)!r}, run_name='__main__')"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr.strip() == (
        "make setup: got Python 3.9, expected 3.10 or newer; install one and run `make setup PYTHON=python3.11`"
    )


def test_nothing_is_run_when_nothing_is_missing():
    install_needs(refuse, [PRESENT])


def test_who_is_not_root_gets_one_command_with_all_packages(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(SetupError) as failure:
        install_needs(refuse, [COMPILER, PRESENT, CMAKE])
    assert "lacks a C++ compiler, cmake" in str(failure.value)
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends cmake g++\n" in str(failure.value)


def test_root_gets_the_packages_installed(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    commands = []
    install_needs(commands.append, [Need("g", ("g++",), lambda: bool(commands)), PRESENT])
    assert commands[0] == ["apt-get", "update"]
    assert commands[1][-1] == "g++"


def test_a_package_that_does_not_help_is_named(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(SetupError, match=r"still lacks a C\+\+ compiler"):
        install_needs(lambda command: None, [COMPILER])


def test_a_machine_without_apt_is_told_what_debian_calls_it(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match=r"no apt-get; install what Debian calls g\+\+"):
        install_needs(refuse, [COMPILER])


def test_a_full_disk_is_refused_with_both_numbers(tmp_path):
    check_disk(tmp_path, needed_gb=0.0)
    with pytest.raises(SetupError, match=r"got \d+\.\d GB of free disk space at .* expected 1000000 GB"):
        check_disk(tmp_path, needed_gb=1e6)


def test_a_missing_library_is_seen():
    assert machine.has_library("libnothing-of-the-kind.so.9", "libc.so.6")
    assert not machine.has_library("libnothing-of-the-kind.so.9")


def test_without_a_sourced_ros_the_wheels_are_used(monkeypatch):
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    assert sourced_ros() is None


def test_a_sourced_ros_is_used(monkeypatch, tmp_path):
    (tmp_path / "rclpy.py").write_text("")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert sourced_ros() == "jazzy"


def test_a_sourced_ros_for_another_python_is_refused_with_both_ways_out(monkeypatch, tmp_path):
    (tmp_path / "rclpy.py").write_text("raise ImportError('built for another Python')")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SetupError, match="ROS 2 jazzy is sourced") as failure:
        sourced_ros()
    assert "make setup PYTHON=/usr/bin/python3" in str(failure.value)
    assert "env -u ROS_DISTRO -u PYTHONPATH make setup" in str(failure.value)
