"""The policy a node runs: loaded and checked in `configure`, swapped while it runs, in the worker's thread only."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import numpy as np

from defi_models.contract import DefiError, Imagination, Observation, Policy, PolicySpec, Proprioception
from defi_models.inference import load
from defi_msgs.srv import LoadPolicy
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.control.preflight import check_policy_fits_robot
from defi_ros.robot import RobotFile

LOAD_TIMEOUT_S = 120.0
_AWAIT_SLICE_S = 0.002


class _Job:
    """One request to load, and its answer once it is done. The spinning thread waits for it between callbacks."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reason: str | None = None
        self.done = threading.Event()

    def __await__(self) -> Generator[None, None, None]:
        deadline_s = time.monotonic() + LOAD_TIMEOUT_S
        while not self.done.is_set() and time.monotonic() < deadline_s:
            time.sleep(_AWAIT_SLICE_S)  # the executor resumes at once; without this it would spin at full speed
            yield


class PolicySlot:
    """Holds one policy, and offers the service `load_policy`.

    Args:
        node: Offers the service and says how it fares.
        robot: The robot every policy must fit.
        half: "both", "imagine" or "act".
    """

    def __init__(self, node: DefiNode, robot: RobotFile, half: load.Half) -> None:
        self._node = node
        self._robot = robot
        self._half: load.Half = half
        self._job: _Job | None = None
        self.policy: Policy = self._load(robot.policy.path)
        node.offer("~/load_policy", LoadPolicy, self._on_load)

    @property
    def spec(self) -> PolicySpec:
        """What the policy in use needs and gives."""
        return self.policy.spec

    def _load(self, path: str) -> Policy:
        """A policy that fits the robot and has run once; the first run of a network is many times slower.

        Raises:
            CheckpointError: there is no such policy.
            PreflightError: it does not fit the robot.
        """
        settings = self._robot.policy
        check_policy_fits_robot(
            load.read_spec(path),
            self._robot.spec,
            rate_hz=self._robot.control.rate_hz,
            replan_s=settings.replan_s,
            chunk_timeout_s=self._robot.control.chunk_timeout_s,
        )
        policy = load.load_policy(
            path, backend=settings.backend, device=settings.device, half=self._half, threads=settings.threads
        )
        if not policy.spec.needs_scene:
            self._warm_up(policy)
        return policy

    def _warm_up(self, policy: Policy) -> None:
        spec = policy.spec
        if self._half != "act":
            image = np.zeros((*spec.image_size, 3), dtype=np.uint8)
            policy.imagine(Observation(0, dict.fromkeys(spec.cameras, image), "warm up"))
        if self._half != "imagine":
            features = np.zeros(spec.feature_shape, dtype=np.float32)
            rest = Proprioception(0, self._robot.spec.home, np.array([0.4, 0.0, 0.4, 1.0, 0.0, 0.0, 0.0]), 1.0)
            policy.act(Imagination(0, "warm up", spec.fingerprint, features), rest)

    async def _on_load(self, request: LoadPolicy.Request, response: LoadPolicy.Response) -> LoadPolicy.Response:
        if self._node.state != "active":
            response.reason = f"{self._node.get_name()} is {self._node.state}, expected active"
        elif self._job is not None:
            response.reason = f"{self._job.path!r} is being loaded, expected one at a time"
        else:
            job = self._job = _Job(request.path)
            await job
            response.reason = job.reason or ("" if job.done.is_set() else f"not loaded within {LOAD_TIMEOUT_S:g} s")
            response.loaded = not response.reason
        response.fingerprint = self.spec.fingerprint
        return response

    def serve(self) -> bool:
        """Loads what was asked for, if anything; the worker calls it between two inferences. True when it swapped."""
        job = self._job
        if job is None:
            return False
        try:
            policy = self._load(job.path)
            missing = [camera for camera in policy.spec.cameras if camera not in self.spec.cameras]
            if missing:
                job.reason = f"policy {job.path!r} looks through {missing} too; restart the node with `policy.path`"
            elif policy.spec.needs_scene != self.spec.needs_scene:
                job.reason = f"policy {job.path!r} needs other inputs; restart the node with `policy.path`"
            else:
                self.policy = policy
        except DefiError as error:
            job.reason = str(error)
        except Exception as error:  # a file that is damaged in any way must not end the policy that runs
            job.reason = f"policy {job.path!r} cannot be loaded: {type(error).__name__}: {error}"
        self._job = None
        job.done.set()
        return job.reason is None
