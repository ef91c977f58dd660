"""The target due at a time: chunks are executed by absolute time, late ones skip, overlapping ones blend.

A chunk is dated by its observation, so latency needs no bookkeeping: target k is due at start + k * step.
Three ways to blend (`control.blending`): the newest chunk after a crossfade; a temporal ensemble of all that cover the
time (Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation", there for chunks on one common grid of steps);
real-time chunking (Black et al. 2025), where the policy continues what `control.promises` says the arm will carry out
anyhow, so that what is left for the crossfade is what came later than foreseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defi_models.contract import NS_PER_S, ActionChunk, ActionSpace, FloatArray
from defi_ros.control.curves import ChunkCurve, Curve, RestCurve, mix, smoothstep

# Stamps ahead of now by more than this come from another clock.
FUTURE_NS = NS_PER_S // 10
# Chunks that come faster than they can be blended; the oldest then counts as faded out. A chunk of 1 s that is inferred
# anew at every camera frame makes an ensemble of 30.
MOST_LAYERS = 40
# Closing a seam adds no more acceleration than this, so that a chunk that is far ahead is caught up with calmly ...
SEAM_M_S2 = 2.0
SEAM_RAD_S2 = 8.0
# ... and it takes no longer than this.
LONGEST_BLEND_NS = NS_PER_S // 2
# No arm gets so far [m, rad]; what is computed from targets must not run out of its numbers.
FARTHEST = 1e3
# Velocities of curves are differences over this time.
SHORT_NS = NS_PER_S // 100


@dataclass(frozen=True, slots=True)
class Target:
    """What a chunk asks for at one time.

    Attributes:
        space: What `row` is.
        row: Joint positions, shape (joints,) [rad], or a pose in the base frame, shape (7,).
        gripper: Wanted opening, 0 closed .. 1 open.
        chunk_start_ns: Observation time of the chunk it comes from [ns].
    """

    space: ActionSpace
    row: FloatArray
    gripper: float
    chunk_start_ns: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One curve in the blend: it fades in from `start_ns` on for `fade_ns`."""

    curve: Curve
    start_ns: int
    fade_ns: int

    def part(self, due_ns: int) -> float:
        """How far it has faded in, 0..1."""
        return 1.0 if self.fade_ns == 0 else smoothstep((due_ns - self.start_ns) / self.fade_ns)


class ChunkSchedule:
    """Holds the chunk in execution and those still fading out. Filled and read by one thread."""

    def __init__(
        self,
        arm: str,
        joints: int,
        *,
        max_age_s: float = 1.0,
        blend_s: float = 0.12,
        lookahead_s: float = 0.0,
        blending: str = "newest",
        ensemble_gain_1_s: float = -0.5,
    ) -> None:
        """For one arm of `joints` joints.

        Args:
            arm: `RobotSpec.arm`; chunks for another are refused.
            joints: Number of joints.
            max_age_s: A chunk whose observation is older when it arrives is refused [s].
            blend_s: Shortest crossfade from the chunk before; a wide seam takes longer [s].
            lookahead_s: Targets are looked up this far ahead, for the delay of the arm's controller [s].
            blending: "newest", "ensemble" or "rtc".
            ensemble_gain_1_s: A chunk observed one second later weighs exp(this) times as much [1/s].
        """
        self._arm = arm
        self._joints = joints
        self._max_age_ns = int(max_age_s * NS_PER_S)
        self._blend_ns = int(blend_s * NS_PER_S)
        self._lookahead_ns = int(lookahead_s * NS_PER_S)
        self._ensemble, self._gain_1_s = blending == "ensemble", ensemble_gain_1_s
        self._layers: list[Layer] = []
        self._current: ChunkCurve | None = None
        self.accepted_ns: int | None = None

    @property
    def chunk(self) -> ActionChunk | None:
        """The chunk in execution, or None."""
        return None if self._current is None else self._current.chunk

    def clear(self) -> None:
        """Forgets everything; the next chunk starts afresh."""
        self._layers.clear()
        self._current = None
        self.accepted_ns = None

    def try_fit(self, chunk: ActionChunk) -> str | None:
        """Whether the chunk is for this arm: None, or the reason why not."""
        if chunk.arm not in (self._arm, "any"):
            return f"chunk is for arm {chunk.arm!r}, expected {self._arm!r}"
        width = chunk.targets.shape[1]
        if chunk.space == "joint_positions" and width != self._joints:
            return f"chunk has targets of {width} joints, expected {self._joints}"
        farthest = float(np.abs(chunk.targets).max())
        if farthest > FARTHEST:
            return (
                f"chunk has a target at {farthest:.3g}, expected none beyond {FARTHEST:g} m or rad, where no arm gets"
            )
        return None

    def try_time(self, chunk: ActionChunk, now_ns: int) -> str | None:
        """Whether the chunk is fresh enough to execute: None, or the reason why not."""
        if chunk.start_ns > now_ns + FUTURE_NS:
            ahead_s = (chunk.start_ns - now_ns) / NS_PER_S
            return f"chunk's observation is {ahead_s:.2f} s in the future, limit {FUTURE_NS / NS_PER_S:g} s; do the clocks agree?"
        if now_ns - chunk.start_ns > self._max_age_ns:
            age_s = (now_ns - chunk.start_ns) / NS_PER_S
            return f"chunk's observation is {age_s:.2f} s old, limit {self._max_age_ns / NS_PER_S:g} s"
        late_ns = now_ns + self._lookahead_ns - chunk.end_ns
        if late_ns >= 0:
            return f"chunk was over {late_ns / NS_PER_S:.2f} s ago, expected targets still to come"
        current = self.chunk
        if current is not None and chunk.start_ns <= current.start_ns:
            behind_s = (current.start_ns - chunk.start_ns) / NS_PER_S
            return f"chunk's observation is {behind_s:.2f} s older than the one in execution, expected a newer one"
        return None

    def accept(
        self, chunk: ActionChunk, now_ns: int, anchor: tuple[FloatArray, FloatArray] | None = None
    ) -> str | None:
        """Puts a chunk into execution, blended in from what was due until now. Returns None, or why it was refused.

        Args:
            chunk: What to execute.
            now_ns: The time now [ns].
            anchor: Where the arm is commanded to be, as a row of the chunk's space, and how fast its positions change,
                to blend from when no chunk covers now.
        """
        refused = self.try_fit(chunk) or self.try_time(chunk, now_ns)
        if refused:
            return refused
        due_ns = now_ns + self._lookahead_ns
        before = self.target_at(now_ns)
        if before is None or before.space != chunk.space:
            rest_s = self._blend_ns / NS_PER_S
            self._layers = [Layer(RestCurve(due_ns, *anchor, rest_s), 0, 0)] if anchor is not None else []
        self._current = ChunkCurve(chunk)
        fade_ns = self._fade_ns(due_ns, chunk.space) if self._layers else 0
        self._layers.append(Layer(self._current, due_ns, fade_ns))
        del self._layers[:-MOST_LAYERS]
        self.accepted_ns = now_ns
        return None

    def target_at(self, now_ns: int) -> Target | None:
        """The target due at `now_ns` plus lookahead, or None when the newest chunk is over.

        One whose stamp lies a little ahead, by another computer's clock, is followed from before its first target on.
        """
        current = self._current
        due_ns = now_ns + self._lookahead_ns
        if current is None or due_ns > current.chunk.end_ns:
            return None
        space = current.chunk.space
        self._forget_faded(due_ns)
        return Target(space, self._blended(due_ns, space), current.gripper_at(due_ns), current.chunk.start_ns)

    def _blended(self, due_ns: int, space: ActionSpace) -> FloatArray:
        """All layers in one row; rotations are mixed as rotations."""
        row, total = self._layers[0].curve.at(due_ns), self._weight(0, due_ns)
        for index, layer in enumerate(self._layers[1:], start=1):
            if self._ensemble:
                weight = self._weight(index, due_ns)
                total += weight
                part = weight / total if total > 0.0 else 1.0
            else:
                part = layer.part(due_ns)
            if part > 0.0:
                row = mix(row, layer.curve.at(due_ns), part, space)
        return row

    def _weight(self, index: int, due_ns: int) -> float:
        """What a layer weighs in the ensemble: 0 when it joins and when it ends, so that neither is a step."""
        layer = self._layers[index]
        if not isinstance(layer.curve, ChunkCurve):  # what the arm did before: until the first chunk has faded in
            if index + 1 == len(self._layers):
                return 1.0
            following = self._layers[index + 1]
            return (1.0 - following.part(due_ns)) * self._preference(following)
        leaving = smoothstep((layer.curve.chunk.end_ns - due_ns) / self._blend_ns) if self._blend_ns else 1.0
        return layer.part(due_ns) * leaving * self._preference(layer)

    def _preference(self, layer: Layer) -> float:
        """How much more a chunk counts than the newest; all change by one factor when another becomes the newest."""
        if not isinstance(layer.curve, ChunkCurve) or self._current is None:
            return 1.0
        newer_s = (layer.curve.chunk.start_ns - self._current.chunk.start_ns) / NS_PER_S
        return math.exp(self._gain_1_s * newer_s)

    def _fade_ns(self, due_ns: int, space: ActionSpace) -> int:
        """How long the chunk that begins now is faded in [ns]: longer, the wider the seam.

        A smoothstep of t seconds over a gap that opens at a speed accelerates by up to 6 gap / t^2 + 6 speed / t, at
        its end. Of poses, place alone is looked at: turning fades as long.
        """
        assert self._current is not None
        if self._blend_ns == 0:
            return 0
        now, soon = (self._current.at(at) - self._blended(at, space) for at in (due_ns, due_ns + SHORT_NS))
        opening = (soon - now) * (NS_PER_S / SHORT_NS)
        if space == "ee_pose":
            gap, speed, most = np.linalg.norm(now[:3]), np.linalg.norm(opening[:3]), SEAM_M_S2
        else:
            gap, speed, most = np.abs(now).max(), np.abs(opening).max(), SEAM_RAD_S2
        seam_s = (3.0 * speed + math.sqrt(9.0 * speed**2 + 6.0 * most * gap)) / most
        return max(self._blend_ns, int(min(seam_s * NS_PER_S, LONGEST_BLEND_NS)))

    def _forget_faded(self, due_ns: int) -> None:
        while len(self._layers) > 1:
            first, second = self._layers[0], self._layers[1]
            if self._ensemble and isinstance(first.curve, ChunkCurve):
                done = due_ns >= first.curve.chunk.end_ns
            else:
                done = due_ns - second.start_ns >= second.fade_ns
            if not done:
                return
            del self._layers[0]
