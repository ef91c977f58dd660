"""What was known at a time: stamped joint states and images in, one aligned view out; what is stale is refused.

A refusal is the returned reason, a text; it names the stream, what was got and the limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, FloatArray, frozen_array
from defi_ros.sections import Alignment

# A stamp this far behind the newest one is not a late message but a clock that was set back.
CLOCK_JUMP_NS = NS_PER_S // 2
# A stamp this far ahead of now cannot be trusted: the sender's clock differs.
FUTURE_NS = NS_PER_S // 10
FRAMES_KEPT = 4


@dataclass(frozen=True, slots=True)
class JointSample:
    """The arm at one time.

    Attributes:
        time_ns: Time the values hold for [ns].
        positions: Joint positions, shape (joints,) [rad]; read-only.
        gripper: Opening, 0 closed .. 1 open.
    """

    time_ns: int
    positions: FloatArray
    gripper: float


class JointHistory:
    """The latest joint states, for looking back to when an image was taken.

    Filled and read by one thread.
    """

    def __init__(self, joints: int, settings: Alignment) -> None:
        """Keeps `settings.history_s` of states of `joints` joints."""
        self._joints = joints
        self._settings = settings
        self._latency_ns = round(settings.joint_latency_s * NS_PER_S)
        self._samples: deque[JointSample] = deque()

    @property
    def newest(self) -> JointSample | None:
        """The newest sample, or None before the first."""
        return self._samples[-1] if self._samples else None

    def add(self, stamp_ns: int, positions: npt.ArrayLike, gripper: float, now_ns: int) -> str | None:
        """Keeps one state. Returns None, or the reason it was refused. A clock set back forgets all earlier states.

        `stamp_ns` is what the message says; the arm was there `joint_latency_s` before [ns].
        """
        stamp_ns -= self._latency_ns
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != (self._joints,):
            return f"joint_states: got {values.size} positions, expected {self._joints}"
        if not (np.isfinite(values).all() and np.isfinite(gripper)):
            return "joint_states: got a number that is not finite, expected finite numbers only"
        refused = _refused_stamp("joint_states", stamp_ns, now_ns, self._samples[-1].time_ns if self._samples else None)
        if refused:
            return refused
        if self._samples and stamp_ns < self._samples[-1].time_ns:
            self._samples.clear()
        self._samples.append(JointSample(stamp_ns, frozen_array("positions", values, (self._joints,)), float(gripper)))
        while self._samples[0].time_ns < stamp_ns - self._settings.history_s * NS_PER_S:
            self._samples.popleft()
        return None

    def at(self, time_ns: int) -> JointSample | str:
        """The state at `time_ns`, interpolated between its neighbours, or the reason it is not known."""
        if not self._samples:
            return "joint_states: got none yet, expected them before the first image is used"
        before, after = self._neighbours(time_ns)
        if before is None:
            late_s = (self._samples[0].time_ns - time_ns) / NS_PER_S
            return f"joint_states: asked for {late_s:.3f} s before the oldest of {self._settings.history_s:g} s kept"
        if after is None:
            age_s = (time_ns - before.time_ns) / NS_PER_S
            if age_s > self._settings.joint_max_age_s:
                return f"joint_states: newest is {age_s:.3f} s old, limit {self._settings.joint_max_age_s:g} s"
            return JointSample(time_ns, before.positions, before.gripper)
        gap_s = (after.time_ns - before.time_ns) / NS_PER_S
        if gap_s > self._settings.joint_max_gap_s:
            return f"joint_states: got a gap of {gap_s:.3f} s around the wanted time, limit {self._settings.joint_max_gap_s:g} s"
        part = (time_ns - before.time_ns) / max(after.time_ns - before.time_ns, 1)
        positions = before.positions + part * (after.positions - before.positions)
        positions.setflags(write=False)
        return JointSample(time_ns, positions, before.gripper + part * (after.gripper - before.gripper))

    def _neighbours(self, time_ns: int) -> tuple[JointSample | None, JointSample | None]:
        after: JointSample | None = None
        for sample in reversed(self._samples):
            if sample.time_ns <= time_ns:
                return sample, after
            after = sample
        return None, after


@dataclass(frozen=True, slots=True)
class AlignedFrames:
    """One image of every camera that belong together.

    Attributes:
        time_ns: The anchor: the oldest of the cameras' newest capture times [ns].
        images: Camera name -> what was added for it.
    """

    time_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]


class FrameAligner:
    """The newest images of several cameras that were taken at about one time. Filled and read by one thread."""

    def __init__(self, max_age_s: Mapping[str, float], max_skew_s: float) -> None:
        """`max_age_s` names each camera with the age its images may have [s]; `max_skew_s` bounds their spread [s]."""
        self._max_age_s = dict(max_age_s)
        self._max_skew_s = max_skew_s
        self._frames: dict[str, deque[tuple[int, npt.NDArray[np.uint8]]]] = {
            name: deque(maxlen=FRAMES_KEPT) for name in max_age_s
        }

    def try_stamp(self, camera: str, stamp_ns: int, now_ns: int) -> str | None:
        """Whether an image of that time would be kept: None, or the reason it would be refused."""
        frames = self._frames.get(camera)
        if frames is None:
            return f"camera {camera!r}: got an image of an unknown camera, expected one of {list(self._frames)}"
        return _refused_stamp(f"camera {camera!r}", stamp_ns, now_ns, frames[-1][0] if frames else None)

    def add(self, camera: str, stamp_ns: int, image: npt.NDArray[np.uint8], now_ns: int) -> str | None:
        """Keeps one image by reference. Returns None, or the reason it was refused."""
        refused = self.try_stamp(camera, stamp_ns, now_ns)
        if refused:
            return refused
        frames = self._frames[camera]
        if frames and stamp_ns < frames[-1][0]:
            frames.clear()
        frames.append((stamp_ns, image))
        return None

    def aligned(self, now_ns: int, newer_than_ns: int | None = None) -> AlignedFrames | str:
        """One image of every camera around one anchor time, or the reason there is none to act on.

        Args:
            now_ns: Time against which ages are judged [ns].
            newer_than_ns: The anchor used last; only newer ones are given [ns].
        """
        for camera, frames in self._frames.items():
            if not frames:
                return f"camera {camera!r}: got no image yet, expected one of each of {list(self._frames)}"
            age_s = (now_ns - frames[-1][0]) / NS_PER_S
            if age_s > self._max_age_s[camera]:
                return f"camera {camera!r}: newest image is {age_s:.2f} s old, limit {self._max_age_s[camera]:g} s"
        anchor_ns = min(frames[-1][0] for frames in self._frames.values())
        if newer_than_ns is not None and newer_than_ns - CLOCK_JUMP_NS < anchor_ns <= newer_than_ns:
            return "no image newer than the one acted upon last"
        chosen = {
            camera: min(frames, key=lambda frame: abs(frame[0] - anchor_ns)) for camera, frames in self._frames.items()
        }
        skews = {camera: abs(stamp_ns - anchor_ns) / NS_PER_S for camera, (stamp_ns, _) in chosen.items()}
        worst = max(skews, key=lambda camera: skews[camera])
        if skews[worst] > self._max_skew_s:
            return self._why_apart(worst, skews[worst])
        return AlignedFrames(anchor_ns, {camera: image for camera, (_, image) in chosen.items()})

    def _why_apart(self, worst: str, skew_s: float) -> str:
        """Blames the camera that lags, if by more than the others' frames are kept; else the one that has a gap."""
        newest_ns = {camera: frames[-1][0] for camera, frames in self._frames.items()}
        late, early = min(newest_ns, key=lambda name: newest_ns[name]), max(newest_ns, key=lambda name: newest_ns[name])
        behind_s = (newest_ns[early] - newest_ns[late]) / NS_PER_S
        if behind_s <= skew_s:
            return f"camera {worst!r}: image is {skew_s:.3f} s away from the others, limit {self._max_skew_s:g} s"
        return (
            f"camera {late!r}: its images come {behind_s:.3f} s behind those of {early!r}, limit {self._max_skew_s:g} s"
        )


def _refused_stamp(stream: str, stamp_ns: int, now_ns: int, newest_ns: int | None) -> str | None:
    if stamp_ns > now_ns + FUTURE_NS:
        ahead_s = (stamp_ns - now_ns) / NS_PER_S
        return (
            f"{stream}: stamp is {ahead_s:.2f} s in the future, limit {FUTURE_NS / NS_PER_S:g} s; do the clocks agree?"
        )
    if stamp_ns == newest_ns:
        return f"{stream}: got the same stamp again, expected a newer one; is it frozen?"
    if newest_ns is not None and newest_ns - CLOCK_JUMP_NS < stamp_ns < newest_ns:
        return (
            f"{stream}: stamp is {(newest_ns - stamp_ns) / NS_PER_S:.3f} s older than the newest, expected a newer one"
        )
    return None
