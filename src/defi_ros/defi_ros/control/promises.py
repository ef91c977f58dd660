"""What an arm will carry out whatever a policy infers next: the targets of the chunk in execution until the next one comes.

The policy's side of real-time chunking (Black et al. 2025, "Real-Time Execution of Action Chunking Flow Policies"). It
needs no word of its own between the processes: the bridge says in `control_state` which chunk it executes, by the time
of its observation, and whoever made that chunk still has it.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from defi_models.contract import ActionChunk
from defi_ros.control.curves import ChunkCurve

KEPT_CHUNKS = 8
# The delay foreseen is the longest of the last ones: one too short leaves a seam, and one slow inference is soon forgotten.
DELAYS = 10


class Promises:
    """Remembers the chunks that were said and how late they were. Called by one thread; `executing` may be called by another."""

    def __init__(self, lookahead_s: float = 0.0) -> None:
        """`lookahead_s` is how far ahead the arm looks up its targets, for the delay of its controller [s]."""
        self._lookahead_ns = int(lookahead_s * 1e9)
        self._said: deque[ChunkCurve] = deque(maxlen=KEPT_CHUNKS)
        self._delays_ns: deque[int] = deque(maxlen=DELAYS)
        self._executing_ns = 0

    def note(self, chunk: ActionChunk, now_ns: int) -> None:
        """Notes a chunk that is said at `now_ns`."""
        self._said.append(ChunkCurve(chunk))
        self._delays_ns.append(max(now_ns - chunk.start_ns, 0))

    def executing(self, start_ns: int) -> None:
        """Notes the observation time of the chunk in execution [ns]; 0: none, as when a person has the arm."""
        self._executing_ns = start_ns

    def at(self, start_ns: int, step_ns: int, steps: int) -> ActionChunk | None:
        """The first targets of a chunk to be inferred, at its own times; None when nothing is promised.

        Args:
            start_ns: Time of its observation [ns].
            step_ns: Spacing of its targets [ns].
            steps: How many targets it has.
        """
        curve = next((said for said in self._said if said.chunk.start_ns == self._executing_ns), None)
        if curve is None or not self._delays_ns or start_ns < curve.chunk.start_ns:
            return None
        until_ns = min(start_ns + max(self._delays_ns) + self._lookahead_ns, curve.chunk.end_ns)
        count = min(1 + (until_ns - start_ns) // step_ns, steps)
        if count < 1:
            return None
        times_ns = [start_ns + k * step_ns for k in range(count)]
        old = curve.chunk
        return ActionChunk(
            start_ns=start_ns,
            step_ns=step_ns,
            space=old.space,
            targets=np.array([curve.at(time_ns) for time_ns in times_ns]),
            gripper=np.array([curve.gripper_at(time_ns) for time_ns in times_ns]),
            arm=old.arm,
            instruction=old.instruction,
        )
