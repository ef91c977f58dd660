"""The set-up as a whole: what it does, what it leaves out, how it goes on after an interruption."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import installation
import interfaces
import machine
import pytest
from installation import Installation, beside_ros
from steps import Journal, SetupError, only_one

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


class Rehearsal(Installation):
    """Notes the commands instead of running them; fails at the one that contains `breaks_at`."""

    def __init__(self, root, lock, breaks_at=None, colcon_says=()):
        super().__init__(root, Journal(root / ".cache" / "setup.log"), lock)
        self.commands = []
        self.breaks_at = breaks_at
        self.colcon_says = colcon_says

    def execute(self, command, env=None, heard=None):
        self.commands.append(" ".join(map(str, command)))
        if heard is not None:
            for line in self.colcon_says:
                heard(line)
        if self.breaks_at and self.breaks_at in self.commands[-1]:
            raise KeyboardInterrupt
        if "venv" in map(str, command):
            (self.venv / "bin").mkdir(parents=True)

    def is_usable(self):
        return self.venv.exists()

    def said(self, text):
        return [command for command in self.commands if text in command]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A copy of all that the set-up reads, on a machine that has everything."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for pattern in ("src/*/setup.*", "src/*/package.xml", "src/defi_msgs/**/*.*", "src/compat_msgs/**/*.*"):
        for source in ROOT.glob(pattern):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    monkeypatch.setattr(machine, "install_needs", lambda run: None)
    monkeypatch.setattr(machine, "sourced_ros", lambda: None)
    monkeypatch.setattr(machine, "check_disk", lambda folder: None)
    monkeypatch.setattr(
        installation.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, "/i\n/n\n", "")
    )
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    return tmp_path


@pytest.fixture
def lock(tmp_path):
    with only_one(tmp_path / "lock") as lock:
        yield lock


def test_a_second_run_does_nothing_and_says_nothing(root, lock, capsys):
    Rehearsal(root, lock).run()
    capsys.readouterr()
    again = Rehearsal(root, lock)
    again.run()
    assert again.commands == []
    assert capsys.readouterr().out == ""


def test_each_step_is_one_line(root, lock, capsys):
    Rehearsal(root, lock).run()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 7 + 1  # title, machine, steps, ready
    assert all(re.search(r"\d+\.\d s$", line) for line in lines[1:-1])


def test_the_long_step_says_which_package_of_how_many_it_has_begun(root, lock, capsys):
    says = ["Starting >>> defi_msgs", "Starting >>> moveit_msgs", "Finished <<< defi_msgs [41.0s]", "", "Summary: 7"]
    Rehearsal(root, lock, colcon_says=says).run()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("  messages")
    assert lines[at + 1 : at + 3] == ["  messages 1 of 7: defi_msgs", "  messages 2 of 7: moveit_msgs"]
    assert re.fullmatch(r"  messages +\d+\.\d s", lines[at + 3])


def test_the_log_of_the_set_up_before_is_kept(root, lock):
    """It was overwritten, and with it the reason of the failure that the second set-up was started for."""
    log = root / ".cache" / "setup.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("no space left on device\n")
    Rehearsal(root, lock).run()
    assert log.with_name("setup.log.1").read_text() == "no space left on device\n" and log.read_text() == ""
    (root / "requirements" / "development.txt").write_text("pytest==9.2.0  # newer\n")
    Rehearsal(root, lock).run()  # an empty log tells nothing and takes nobody's place
    assert log.with_name("setup.log.1").read_text() == "no space left on device\n"


def test_a_changed_message_builds_messages_and_installs_nothing(root, lock):
    Rehearsal(root, lock).run()
    (root / "src" / "defi_msgs" / "msg" / "TaskOutcome.msg").write_text("bool other  # something else\n")
    again = Rehearsal(root, lock)
    again.run()
    assert len(again.said("colcon")) == 1
    assert again.said("pip") == []


def test_a_changed_tool_pin_does_not_build_messages(root, lock):
    Rehearsal(root, lock).run()
    (root / "requirements" / "development.txt").write_text("pytest==9.2.0  # newer\n")
    again = Rehearsal(root, lock)
    again.run()
    assert again.said("pip install") != [] or again.said("-m pip") != []
    assert again.said("colcon") == []


@pytest.mark.parametrize("breaks_at", ["-m venv", "torch==", "requirements.txt", "colcon", "--no-build-isolation"])
def test_an_interrupted_set_up_goes_on_where_it_was(root, lock, breaks_at):
    with pytest.raises(KeyboardInterrupt):
        Rehearsal(root, lock, breaks_at).run()
    second = Rehearsal(root, lock)
    second.run()
    assert second.said(breaks_at) != []
    assert breaks_at in second.commands[0]


def test_torch_may_come_from_an_index_of_its_own(root, lock, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX_URL", "some-index")
    made = Rehearsal(root, lock)
    made.run()
    [torch] = made.said("torch==")
    assert "--index-url some-index torch==" in torch
    assert "--index-url" not in made.said("requirements.txt")[0]


def test_a_half_installed_package_is_forgotten(root, lock):
    made = Rehearsal(root, lock)
    packages = interfaces.site_packages(made.venv)
    for name in ("whole", "half"):
        (packages / f"{name}-1.dist-info").mkdir(parents=True)
    (packages / "whole-1.dist-info" / "RECORD").touch()
    (packages / "~orch").mkdir()
    made.forget_half_installed()
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_beside_a_sourced_ros_no_ros_wheels_are_installed_and_its_numpy_stays(root, lock, monkeypatch):
    monkeypatch.setattr(machine, "sourced_ros", lambda: "kilted")
    monkeypatch.setattr(machine, "can_import", lambda module: module != "tf2_msgs.msg")
    monkeypatch.setattr(interfaces, "can_import", lambda module: module != "tf2_msgs.msg")
    answer = subprocess.CompletedProcess([], 0, "1.26.4\n", "")
    monkeypatch.setattr(installation.subprocess, "run", lambda *a, **k: answer)
    made = Rehearsal(root, lock)
    made.venv.joinpath("lib", "python3.0").mkdir(parents=True)
    interfaces.site_packages(made.venv).mkdir(parents=True)
    made.run()
    chosen = (root / ".cache" / "requirements.txt").read_text()
    assert "numpy==1.26.4\n" in chosen
    assert "ros-rclpy" not in chosen
    assert "opencv" not in chosen
    assert "src/defi_msgs " in made.said("colcon")[0]
    assert "tf2_msgs" in made.said("colcon")[0]
    assert "control_msgs" not in made.said("colcon")[0]


def test_a_sourced_ros_without_numpy_is_refused(monkeypatch):
    answer = subprocess.CompletedProcess([], 1, "", "no numpy")
    monkeypatch.setattr(installation.subprocess, "run", lambda *a, **k: answer)
    with pytest.raises(SetupError, match="apt-get install -y python3-numpy"):
        beside_ros(["numpy==2.4.6"])


def test_an_environment_of_another_kind_is_not_usable(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(machine, "sourced_ros", lambda: None)
    made = Installation(tmp_path, Journal(tmp_path / ".cache" / "setup.log"), lock)
    assert not made.is_usable()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.venv], check=True)
    assert not made.is_usable()  # no pip: the making of it was interrupted
    (made.venv / "bin" / "python").unlink()
    assert not made.is_usable()


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_says_why(file):
    seen = set()
    for line in file.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name = re.split(r"[=;\[]", line)[0]
        assert re.match(r"[\w-]+(\[\w+\])?==[\w.]+(;.*)?", line), line
        assert "#" in line or name in seen, f"{line}: no reason"
        seen.add(name)


@pytest.mark.slow
def test_without_a_network_it_says_so_and_how_to_go_on(tmp_path):
    for folder in ("requirements", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "ROS_DISTRO", "VIRTUAL_ENV"))}
    nowhere = "http://127.0.0.1:9"  # the discard port: refuses
    env |= {"https_proxy": nowhere, "http_proxy": nowhere, "HTTPS_PROXY": nowhere, "no_proxy": "", "PIP_RETRIES": "1"}
    env |= {"PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}
    told = subprocess.run(
        [sys.executable, "tools/setup.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "make setup: no network" in told.stderr
    assert "run `make setup` again" in told.stderr
    assert not (tmp_path / ".venv" / ".setup" / "torch").exists()
    assert (tmp_path / ".venv" / ".setup" / "virtual-environment").exists()
