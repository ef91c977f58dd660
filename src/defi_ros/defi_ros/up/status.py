"""What a person is shown of a running graph: a line a node, a line a task. Knows neither ROS nor terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as it was last heard of.

    Attributes:
        name: The node.
        state: Lifecycle state in one word, or "starting", "restarting", "silent".
        rate_hz: Pieces of work a second, or None [Hz].
        latency_ms: Median time of one, or None [ms].
        mode: What it is doing.
        trouble: What is wrong with it; empty when nothing is.
    """

    name: str
    state: str = "starting"
    rate_hz: float | None = None
    latency_ms: float | None = None
    mode: str = ""
    trouble: str = ""

    @property
    def active(self) -> bool:
        """Whether it is at work."""
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task.

    Attributes:
        instruction: What was asked.
        status: "waiting", "running", "done" or "failed".
        duration_s: How long it ran so far [s].
        reason: Why it ended, or what is going on.
    """

    instruction: str
    status: str = "waiting"
    duration_s: float = 0.0
    reason: str = ""


def node_status(name: str, values: Mapping[str, str], trouble: str = "") -> NodeStatus:
    """A node's status from the key/values of its diagnostics; absent or empty ones are None or empty."""
    return NodeStatus(
        name=name,
        state=values.get("state") or "silent",
        rate_hz=_number(values.get("rate_hz")),
        latency_ms=_number(values.get("latency_ms_p50")),
        mode=values.get("mode", ""),
        trouble=trouble or values.get("error", ""),
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
