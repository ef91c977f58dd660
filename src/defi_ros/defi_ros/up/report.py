"""What a run was like, as numbers: collected while the graph runs, written as JSON. Knows nothing of ROS."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from defi_models.contract import ConfigError
from defi_models.files import write_text

KEPT = 100_000  # samples kept of each measurement, the newest; hours of chunks at 10 Hz
LONGEST_CHUNK_GAP_S = 2.0  # a longer gap is a pause between tasks or a restart, not the rate of a working policy


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How one task went.

    Attributes:
        instruction: What was asked.
        success: Whether it was done in time.
        duration_s: From the instruction to the end [s].
        reason: Why it ended.
    """

    instruction: str
    success: bool
    duration_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class BridgeFigures:
    """What the arm bridge counts and measures itself, as its newest `control_state` says it.

    Attributes:
        command_rate_hz: Commands sent [Hz].
        jitter_p50_ms, jitter_p99_ms, jitter_max_ms: How far ticks are from their time [ms].
        camera_to_command_p50_ms, camera_to_command_p99_ms: From the capture of an image to the first command
            computed from it [ms].
        camera_to_command_n: How many chunks that is measured on.
        limit_violations: Commands outside the limits that left the bridge; must be 0.
        stale_refusals: Chunks and states refused because they were too old.
    """

    command_rate_hz: float = 0.0
    jitter_p50_ms: float = 0.0
    jitter_p99_ms: float = 0.0
    jitter_max_ms: float = 0.0
    camera_to_command_p50_ms: float = 0.0
    camera_to_command_p99_ms: float = 0.0
    camera_to_command_n: int = 0
    limit_violations: int = 0
    stale_refusals: int = 0


@dataclass(slots=True)
class Report:
    """One run. `add_chunk` may be called from another thread than the rest.

    Attributes:
        robot: Name of the robot file.
        policy: Name of the policy, or None where the run ended before it was known.
        ros_distro: Such as "kilted".
        rmw: Such as "rmw_fastrtps_cpp".
        tasks: In the order they ran.
        bridge: The newest figures of the arm bridge.
        exit_reasons: Process -> how each of its runs ended.
    """

    robot: str
    policy: str | None = None
    ros_distro: str | None = None
    rmw: str | None = None
    tasks: list[TaskResult] = field(default_factory=list)
    bridge: BridgeFigures = field(default_factory=BridgeFigures)
    exit_reasons: dict[str, list[str]] = field(default_factory=dict)
    _gfdm_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _gidm_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _gaps_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _last_chunk_s: float | None = None

    def add_chunk(self, received_s: float, imagination_ms: float, inference_ms: float) -> None:
        """Counts one action chunk.

        Args:
            received_s: When it arrived, on a monotonic clock [s].
            imagination_ms: What the GFDM took for it [ms].
            inference_ms: What the GIDM and the action decoder took for it [ms].
        """
        self._gfdm_ms.append(imagination_ms)
        self._gidm_ms.append(inference_ms)
        if self._last_chunk_s is not None and received_s - self._last_chunk_s <= LONGEST_CHUNK_GAP_S:
            self._gaps_s.append(received_s - self._last_chunk_s)
        self._last_chunk_s = received_s

    @property
    def chunk_rate_hz(self) -> float | None:
        """Chunks a second while the policy was at work, or None before the second chunk [Hz]."""
        gaps_s = list(self._gaps_s)
        return len(gaps_s) / sum(gaps_s) if sum(gaps_s) > 0 else None

    def to_mapping(self) -> dict[str, Any]:
        """The report in plain values; a figure that was not measured is None."""
        bridge, seen = self.bridge, self.bridge.command_rate_hz > 0
        return {
            "robot": self.robot,
            "ros_distro": self.ros_distro,
            "rmw": self.rmw,
            "policy": self.policy,
            "tasks": [_rounded(asdict(task)) for task in self.tasks],
            "camera_to_command_ms": _rounded(
                {
                    "p50": bridge.camera_to_command_p50_ms if bridge.camera_to_command_n else None,
                    "p99": bridge.camera_to_command_p99_ms if bridge.camera_to_command_n else None,
                    "n": bridge.camera_to_command_n,
                }
            ),
            "gfdm_ms": percentiles(self._gfdm_ms),
            "gidm_ms": percentiles(self._gidm_ms),
            "chunk_rate_hz": _rounded({"hz": self.chunk_rate_hz})["hz"],
            "command_rate_hz": round(bridge.command_rate_hz, 3) if seen else None,
            "command_jitter_ms": _rounded(
                {
                    "p50": bridge.jitter_p50_ms if seen else None,
                    "p99": bridge.jitter_p99_ms if seen else None,
                    "max": bridge.jitter_max_ms if seen else None,
                }
            ),
            "limit_violations": bridge.limit_violations,
            "stale_refusals": bridge.stale_refusals,
            "exit_reasons": {name: list(reasons) for name, reasons in self.exit_reasons.items()},
        }


def percentiles(samples_ms: Sequence[float] | deque[float]) -> dict[str, float | None]:
    """Median and 99th percentile, both None without samples [ms]."""
    values = list(samples_ms)
    if not values:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}


def check_writable(path: Path) -> None:
    """Refuses a report file that could not be written at the end of the run.

    Raises:
        ConfigError: its folder does not exist or may not be written to, or it is a folder itself.
    """
    folder = path.resolve().parent
    if path.is_dir():
        raise ConfigError(f"--json: got {path}, which is a folder; expected the name of a file")
    if not folder.is_dir():
        raise ConfigError(f"--json: got {path}, but there is no folder {folder}; make it or choose another")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--json: got {path}, but {folder} may not be written to; choose another folder")


def write_json(values: dict[str, Any], path: Path) -> None:
    """Writes a report so that a reader sees the old file or the whole new one, never a part."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
