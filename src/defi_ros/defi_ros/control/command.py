"""What the arm bridge sends and says after one tick, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from defi_models.contract import FloatArray
from defi_ros.control.authority import Mode
from defi_ros.control.safety import Verdict


class Alone(Enum):
    """What an arm's controller does with an arm in motion while it hears nothing."""

    HOLDS = "it stays at the last set point"
    GOES_ON = "it goes on as evenly as it was told to move last"
    LAGS = "it still does what it was told a while ago; what comes may begin with braking"
    STOPS = "it brings the arm to rest, in a way of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCommand:
    """What the arm bridge sends and says after one tick; by itself it says why nothing is sent.

    Attributes:
        positions: Joint positions to command, shape (joints,) [rad]; None: send nothing.
        velocities: Joint velocities there, shape (joints,) [rad/s].
        pose: Pose of the tool centre point there, shape (7,); None: send nothing.
        gripper: Opening commanded last, 0..1.
        gripper_goal: Opening to send a goal for now; None: send none.
        mode: Who may move the arm.
        reason: Why.
        source: Who asked for that.
        verdict: What became of the target.
        verdict_reason: Why it did not pass as it was.
        chunk_stamp_ns: Observation time of the chunk in execution [ns]; 0: none.
        chunk_started: Whether this is the first command computed from that chunk.
        at_rest: Whether the commanded joints stand still.
        anew: Whether this does not go on from what was commanded before.
        measured: Newest measured joints, shape (joints,) [rad]; None before the first.
        trusted: Whether the arm is there now and may be led from there to `positions`: neither silent nor STOPPED.
    """

    positions: FloatArray | None = None
    velocities: FloatArray
    pose: FloatArray | None = None
    gripper: float
    gripper_goal: float | None = None
    mode: Mode
    reason: str
    source: str
    verdict: Verdict = Verdict.HELD
    verdict_reason: str
    chunk_stamp_ns: int = 0
    chunk_started: bool = False
    at_rest: bool = True
    anew: bool = False
    measured: FloatArray | None
    trusted: bool = False

    def again(self, measured: FloatArray | None) -> ArmCommand:
        """The same motion once more, without what is said or sent only once."""
        return replace(self, gripper_goal=None, chunk_started=False, anew=False, measured=measured)
