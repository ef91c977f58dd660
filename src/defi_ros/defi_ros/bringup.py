"""One robot file and a few options -> the list of processes. The launch file and `defi up` read this list alike.

Knows which node runs where, with which parameters and environment; starts nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from defi_models.contract import ConfigError
from defi_models.inference.load import SCRIPTED, shipped
from defi_ros.robot import RobotFile, robots_folder
from defi_ros.sections import NO_POLICY

ParameterValue = bool | int | float | str
IMAGINATION, ACTION, COMPOSED = "imagination_node", "action_node", "inference_node"

# Measured for a 0.9 MB image at 30 Hz between two Python processes: 1.7 ms in the middle, against 14.6 ms by default.
TRANSPORTS = "LARGE_DATA?max_msg_size=4MB&sockets_size=8MB&non_blocking=true"
# The simulated robot starts together with those who wait for it, and last on a busy machine; that it fails is seen at once.
SIM_START_TIMEOUT_S = 45.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class BringupOptions:
    """What a person may choose when a robot is started; None leaves it to the robot file.

    Attributes:
        robot: Name or path of the robot file, handed to every node.
        sim: Whether the simulated robot and cameras take the place of the real ones.
        policy: Name or folder of the policy.
        composed: Whether GFDM and GIDM share one process.
        seed: Seed of the simulated scene.
        namespace: Namespace of every node; empty for none.
    """

    robot: str
    sim: bool = False
    policy: str | None = None
    composed: bool | None = None
    seed: int = 0
    namespace: str = ""

    def __post_init__(self) -> None:
        if Path(self.robot).suffix in (".yaml", ".yml"):
            object.__setattr__(self, "robot", str(Path(self.robot).expanduser().resolve()))
        folder = Path(self.policy or "").expanduser()
        if self.policy and self.policy not in (SCRIPTED, *shipped()) and folder.is_dir():  # `./nano` is a folder
            object.__setattr__(self, "policy", str(folder.resolve()))
        if self.seed < 0:
            raise ConfigError(f"seed: got {self.seed}, expected 0 or a positive whole number")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the graph.

    Attributes:
        name: Name of its node and of its log.
        module: What `python -m` runs; its last part is the installed executable as well.
        parameters: ROS parameters by full name.
        environment: Variables it needs unless the user has set them.
        nice: Wanted niceness. A negative one is for whoever starts the process to apply, where the system permits it; a
            node lowers its own priority itself, which leaves the threads of the middleware alone.
        respawn: Whether it may be started again when it ends: inference may, what moves the arm may not.
        stops_last: Whether it is stopped only when the others have ended.
        remap_name: Whether the node takes the process' name; for several of one kind.
        namespace: Namespace of its nodes; empty for none.
    """

    name: str
    module: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0
    respawn: bool = False
    stops_last: bool = False
    remap_name: bool = False
    namespace: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))

    @property
    def executable(self) -> str:
        """Name of the installed console script."""
        return self.module.rpartition(".")[2]

    def command(self, python: str) -> list[str]:
        """Program and arguments, run by the interpreter given."""
        arguments = [python, "-m", self.module, "--ros-args"]
        if self.remap_name:
            arguments += ["-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]  # JSON is YAML: a text stays a text
        return arguments


def graph_environment() -> dict[str, str]:
    """The variables every process of the graph needs, `defi up` included, unless the user has set them."""
    return {
        "FASTDDS_BUILTIN_TRANSPORTS": TRANSPORTS,
        "FASTDDS_DEFAULT_PROFILES_FILE": str(robots_folder().with_name("dds") / "discovery.xml"),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
        "PYTHONUNBUFFERED": "1",
    }


def processes(robot: RobotFile, options: BringupOptions) -> list[Process]:
    """Every process of the graph, slowest to start first.

    Raises:
        ConfigError: the robot has a policy and no cameras to act by.
    """
    policy = options.policy or robot.policy.path
    if not robot.cameras and policy != NO_POLICY:
        raise ConfigError(
            f"robot {robot.name!r}: got no cameras and policy {policy!r}, expected at least one under `cameras:`, or "
            f"policy.path {NO_POLICY!r} for an arm that people alone move"
        )
    bodies = [_sim(robot, options)] if options.sim else _cameras(robot, options)
    inference = [] if policy == NO_POLICY else _inference(robot, options)
    guarded = robot.driver.kind == "forward_velocity"
    guards = [_process(robot, options, "stop_guard_node", stops_last=True)] if guarded else []
    rest = [_process(robot, options, module) for module in ("arm_bridge_node", "task_node")]
    return [*inference, *bodies, *guards, *rest]


def _inference(robot: RobotFile, options: BringupOptions) -> list[Process]:
    composed = robot.policy.composed if options.composed is None else options.composed
    threads = robot.policy.threads or os.cpu_count() or 1
    return [
        _process(robot, options, module, threads=threads, respawn=True)
        for module in ((COMPOSED,) if composed else (IMAGINATION, ACTION))
    ]


def _sim(robot: RobotFile, options: BringupOptions) -> Process:
    return _process(robot, options, "sim_node", parameters={"seed": options.seed}, environment={"MUJOCO_GL": "egl"})


def _cameras(robot: RobotFile, options: BringupOptions) -> list[Process]:
    return [
        _process(robot, options, "camera_node", name=camera_node(name), parameters={"camera": name})
        for name, camera in robot.cameras.items()
        if camera.driver != "topic"
    ]


def _process(
    robot: RobotFile,
    options: BringupOptions,
    module: str,
    *,
    name: str | None = None,
    parameters: Mapping[str, ParameterValue] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    threads: int = 1,
    respawn: bool = False,
    stops_last: bool = False,
) -> Process:
    """A process with what all have in common; `threads` are those of its numerical libraries."""
    given: dict[str, ParameterValue] = {"robot": options.robot}
    if options.policy is not None:
        given["policy.path"] = options.policy
    if options.sim:
        given["start_timeout_s"] = SIM_START_TIMEOUT_S
    nice = getattr(robot.nodes.nice, IMAGINATION if module == COMPOSED else module)
    return Process(
        name=name or module,
        module=f"defi_ros.nodes.{module}",
        parameters={**given, **parameters},
        environment=graph_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(environment),
        nice=nice,
        respawn=respawn,
        stops_last=stops_last,
        remap_name=name is not None,
        namespace=options.namespace,
    )


def camera_node(camera: str) -> str:
    """Name of the node that serves one camera of a real robot."""
    return f"camera_node_{camera}"
