"""Surroundings of every test run: a ROS domain of its own, local discovery, headless rendering, and no process left behind."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from defi_ros.bringup import graph_environment
from defi_ros.up.domain import reserved_domain

# `quick` is what `make test` draws; `pytest test/defi_ros/control/test_laws.py --hypothesis-profile=laws` draws them all.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.register_profile("quick", _patient, derandomize=True)
settings.register_profile("laws", _patient, derandomize=False, database=None)
settings.load_profile("quick")

MARK = "DEFI_TEST_RUN"
LEAVE_S = 5.0  # what ends by itself after the last test gets this long
DEPEND_ON_TIME = (
    "test/defi_ros/bridge",
    "test/defi_ros/drivers",
    "test/defi_ros/up",
    "test/nodes",
    "test/launch",
    "test/e2e",
)
STEPPED_BACK = 10  # a tenth of a busy core; at 19 nothing else would go on while a whole graph runs
PARTICIPANT_THREAD = "dds.ev."
RESOURCE_TRACKER = "multiprocessing.resource_tracker"
_surroundings = ExitStack()
_left_behind: list[str] = []
MOST_OUTLIVING = 8  # a quarter of those that discovery asks


def pytest_configure(config: pytest.Config) -> None:
    """Sets the environment that tests, and the processes they start, run in; before anything imports rclpy.

    The domain is never the user's: `make test` on a machine with a live robot must not be heard by it. Each worker of
    `-n` is a process of its own and comes here too.
    """
    os.environ.update(graph_environment())
    os.environ["ROS_DOMAIN_ID"] = str(_surroundings.enter_context(reserved_domain()))
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="defi-test-log-")
    _surroundings.callback(shutil.rmtree, os.environ["ROS_LOG_DIR"], ignore_errors=True)
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(Path(__file__).with_name("one_process.xml"))
    os.environ.setdefault("MUJOCO_GL", "egl")
    if not _is_worker(config):
        os.environ[MARK] = uuid.uuid4().hex


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """With `-n`: what depends on time runs in one worker, one test after the other; all else a file at a time."""
    config.option.loadscopereorder = False  # as `pytest_collection_modifyitems` left them
    return _OneWorkerForWhatDependsOnTime(config, log)


class _OneWorkerForWhatDependsOnTime(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "what depends on time" if _depends_on_time(file) else file


def _depends_on_time(file: str) -> bool:
    return file.startswith(DEPEND_ON_TIME)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, by name, what this machine lacks; a worker begins with what takes long and ends with whole graphs."""
    found = importlib.util.find_spec("rclpy") is not None
    missing = pytest.mark.skip(reason="rclpy is not installed; `make setup` installs it")
    for item in items:
        if not found and item.get_closest_marker("ros"):
            item.add_marker(missing)
    if _is_worker(config):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (_rank(item.nodeid), item.path not in slow))


def pytest_collection_finish() -> None:
    """Leaves what the imports made out of all later garbage collections."""
    gc.collect()
    gc.freeze()


def _rank(nodeid: str) -> int:
    return next(
        (place for place, folder in enumerate(DEPEND_ON_TIME) if nodeid.startswith(folder)), len(DEPEND_ON_TIME)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets a worker step back, at its first test that does not depend on time, behind the worker whose tests do."""
    if _is_worker(item.config) and not _depends_on_time(item.nodeid) and os.nice(0) < STEPPED_BACK:
        os.nice(STEPPED_BACK)
        with contextlib.suppress(OSError):  # where time is shared by session, niceness counts within one
            os.setsid()
            Path("/proc/self/autogroup").write_text(str(STEPPED_BACK))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> None:
    """Ends what a ROS test left to the garbage collector; a module fails when too many DDS participants are left.

    Of the participants on a machine, discovery on this machine alone (`LOCALHOST`) asks the first 32: a process full of
    forgotten ones neither finds another process nor is found by it. Single ones stay where a goal was under way at a
    test's end.
    """
    if not _participants():  # only then: with torch loaded a collection takes half a second
        return
    item.funcargs.clear()  # they hold this test's nodes
    gc.collect()  # rclpy's nodes are held by cycles
    if nextitem is None or nextitem.path != item.path:
        left = _participants()
        if left > MOST_OUTLIVING and not item.session.testsfailed:  # a failure is shown with the nodes of its test
            pytest.fail(
                f"{left} DDS participants outlive {item.path.name} and those before it: spin the executor until nothing waits in it, "
                "destroy its nodes, shut it and the context down, and keep none of them on the test's class",
                pytrace=False,
            )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run when a process that it started is still alive, also one that lost its parent; ends it."""
    if _is_worker(session.config):  # another worker's are none of its business
        return
    # multiprocessing's own resource tracker ends with this process, not before.
    alive = [process for process in _started_here() if RESOURCE_TRACKER not in " ".join(_command(process))]
    _, alive = psutil.wait_procs(alive, timeout=LEAVE_S)
    for process in alive:
        _left_behind.append(f"{process.pid}: {' '.join(_command(process))[:200]}")
        process.kill()
    if _left_behind and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the processes that were left behind."""
    if _left_behind:
        terminalreporter.section("processes left behind by tests (killed; the run counts as failed)", red=True)
        for line in _left_behind:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Gives the domain back."""
    del config
    _surroundings.close()


def _participants() -> int:
    """How many DDS participants this process has: each has one thread of this name."""
    found = 0
    for task in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # the thread has ended since
            found += task.read_text(encoding="utf-8").startswith(PARTICIPANT_THREAD)
    return found


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker process of `-n`."""
    return hasattr(config, "workerinput")


def _started_here() -> list[psutil.Process]:
    """Processes that carry this run's mark in their environment, except this one."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _mark(process) == os.environ[MARK]
    ]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["(gone)"]


@pytest.fixture
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def description_of() -> Callable[[str], str]:
    """The URDF of a shipped robot: from example-robot-data, or made here from published kinematics."""
    from defi_sim.description import fr3_description, panda_directory

    robots = panda_directory().parent
    panda = (panda_directory() / "urdf" / "panda.urdf").read_text(encoding="utf-8")
    texts = {
        "franka": panda,
        "panda": panda,
        "fr3": fr3_description(),
        "ur5e": (robots / "ur_description" / "urdf" / "ur5_robot.urdf").read_text(encoding="utf-8"),
        "so101": (robots / "so_arm_description" / "urdf" / "so101.urdf").read_text(encoding="utf-8"),
        "xarm7": _xarm7(),
    }
    return texts.__getitem__


def _xarm7() -> str:
    """The kinematics of xarm_description, config/kinematics/default/xarm7_default_kinematics.yaml."""
    half_turn = 1.5707963
    origins = (
        (0.0, 0.0, 0.267, 0.0),
        (0.0, 0.0, 0.0, -half_turn),
        (0.0, -0.293, 0.0, half_turn),
        (0.0525, 0.0, 0.0, half_turn),
        (0.0775, -0.3425, 0.0, half_turn),
        (0.0, 0.0, 0.0, half_turn),
        (0.076, 0.097, 0.0, -half_turn),
    )
    links = ["link_base", *(f"link{number}" for number in range(1, 8)), "link_tcp"]
    joints = [
        f'<joint name="joint{number}" type="revolute"><parent link="{links[number - 1]}"/><child link="{links[number]}"/>'
        f'<origin xyz="{x} {y} {z}" rpy="{roll} 0 0"/><axis xyz="0 0 1"/>'
        '<limit lower="-6.2832" upper="6.2832" velocity="3.14" effort="50"/></joint>'
        for number, (x, y, z, roll) in enumerate(origins, start=1)
    ]
    joints.append(
        '<joint name="tcp" type="fixed"><parent link="link7"/><child link="link_tcp"/><origin xyz="0 0 0.172"/></joint>'
    )
    return f'<robot name="xarm7">{"".join(f"<link name={name!r}/>" for name in links)}{"".join(joints)}</robot>'
