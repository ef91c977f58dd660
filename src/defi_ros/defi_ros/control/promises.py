"""What an arm does until a policy's next chunk comes, and would go on to do: what is left of the chunk in execution.

The policy's side of real-time chunking (Black et al. 2025, "Real-Time Execution of Action Chunking Flow Policies"). It
needs no word of its own between the processes: the bridge says in `control_state` which chunk it executes, by the time
of its observation, and whoever made that chunk still has it.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from defi_models.contract import ActionChunk, ActionSpace, FloatArray, Promised
from defi_ros.control.curves import ChunkCurve

KEPT_CHUNKS = 8
# The delay foreseen is the longest but one of the last ones: one too short leaves a seam, and one slow inference must not
# bind whole chunks.
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

    def at(self, start_ns: int, step_ns: int, steps: int, space: ActionSpace) -> Promised | None:
        """What is left of the chunk in execution, at the times of one to be inferred; None when nothing is promised.

        Until the new chunk comes its targets are certain; then they bind the less, the later they are, so that the
        new chunk leaves the old one gently.

        Args:
            start_ns: Time of its observation [ns].
            step_ns: Spacing of its targets [ns].
            steps: How many targets it has.
            space: What they are; a chunk of another kind, as of the policy before, promises nothing.
        """
        curve = next((said for said in self._said if said.chunk.start_ns == self._executing_ns), None)
        if curve is None or not self._delays_ns or start_ns < curve.chunk.start_ns or curve.chunk.space != space:
            return None
        count = min(1 + (curve.chunk.end_ns - start_ns) // step_ns, steps)
        if count < 1:
            return None
        delay_ns = sorted(self._delays_ns)[-min(len(self._delays_ns), 2)]
        certain = 1 + math.ceil((delay_ns + self._lookahead_ns) / step_ns)  # the arm is between two of them
        times_ns = [start_ns + k * step_ns for k in range(count)]
        old = curve.chunk
        chunk = ActionChunk(
            start_ns=start_ns,
            step_ns=step_ns,
            space=old.space,
            targets=np.array([curve.at(time_ns) for time_ns in times_ns]),
            gripper=np.array([curve.gripper_at(time_ns) for time_ns in times_ns]),
            arm=old.arm,
            instruction=old.instruction,
        )
        return Promised(chunk, soft_weights(count, certain))


def soft_weights(count: int, certain: int) -> FloatArray:
    """How much each of `count` targets binds, the first `certain` wholly, shape (count,) (Black et al. 2025, eq. 5)."""
    left = (count - np.arange(count)) / (count - certain + 1) if count > certain else np.ones(count)
    weights: FloatArray = left * np.expm1(left) / np.expm1(1.0)
    weights[:certain] = 1.0
    return weights
