import pytest

from defi_ros.control.interlock import (
    FrankaMode,
    RecoveryError,
    UrMode,
    UrSafety,
    check_franka_recovers,
    franka_fault,
    ur_fault,
    ur_recovery,
)

READY = (True, UrMode.RUNNING, UrSafety.NORMAL)


def test_a_franka_moves_only_in_move_and_without_errors():
    ready = [mode for mode in range(10) if franka_fault(mode, []) is None]
    assert ready == [FrankaMode.MOVE]
    assert "cartesian_reflex, joint_velocity_violation" in (
        franka_fault(FrankaMode.MOVE, ["cartesian_reflex", "joint_velocity_violation"]) or ""
    )


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (FrankaMode.USER_STOPPED, "got USER_STOPPED, expected MOVE; its user stop is pressed"),
        (FrankaMode.IDLE, "got IDLE, expected MOVE; no controller moves it"),
        (9, "got robot_mode 9, expected MOVE; unknown mode"),
    ],
)
def test_a_franka_that_does_not_move_says_why(mode, what):
    assert what in (franka_fault(mode, []) or "")


def test_a_franka_that_waits_for_a_person_is_not_recovered():
    refused = []
    for mode in FrankaMode:
        try:
            check_franka_recovers(mode)
        except RecoveryError:
            refused.append(mode)
    assert refused == [FrankaMode.OTHER, FrankaMode.GUIDING, FrankaMode.USER_STOPPED]
    with pytest.raises(RecoveryError, match=r"got a robot in USER_STOPPED, .* release it and ask for a recovery"):
        check_franka_recovers(FrankaMode.USER_STOPPED)


def test_a_ur_moves_only_running_unstopped_and_with_its_program():
    ready = [
        (program, mode, safety)
        for program in (False, True)
        for mode in UrMode
        for safety in UrSafety
        if ur_fault(program, mode, safety) is None
    ]
    assert ready == [(True, UrMode.RUNNING, UrSafety.NORMAL), (True, UrMode.RUNNING, UrSafety.REDUCED)]


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ((None, UrMode.RUNNING, None), "got no robot_program_running, safety_mode yet"),
        ((False, UrMode.RUNNING, UrSafety.PROTECTIVE_STOP), "got safety mode PROTECTIVE_STOP, expected NORMAL or REDUCED"),
        ((True, UrMode.IDLE, UrSafety.NORMAL), "got robot mode IDLE, expected RUNNING"),
        ((False, UrMode.RUNNING, UrSafety.NORMAL), "got no running program"),
        ((True, UrMode.RUNNING, 77), "got safety mode 77"),
        ((True, 42, UrSafety.NORMAL), "got robot mode 42"),
    ],
)  # fmt: skip
def test_a_ur_that_does_not_move_says_why(state, what):
    assert what in (ur_fault(*state) or "")


@pytest.mark.parametrize(
    ("state", "program", "steps"),
    [
        (READY, "resend", []),
        ((False, UrMode.RUNNING, UrSafety.NORMAL), "resend", ["resend_robot_program"]),
        ((False, UrMode.RUNNING, UrSafety.NORMAL), "play", ["play"]),
        ((False, UrMode.RUNNING, UrSafety.PROTECTIVE_STOP), "resend", ["unlock_protective_stop", "resend_robot_program"]),
        ((False, UrMode.POWER_OFF, UrSafety.NORMAL), "play", ["power_on", "brake_release", "play"]),
        ((False, UrMode.IDLE, UrSafety.PROTECTIVE_STOP), "play",
         ["unlock_protective_stop", "power_on", "brake_release", "play"]),
    ],
)  # fmt: skip
def test_a_ur_is_brought_back_in_the_documented_order(state, program, steps):
    running, mode, safety = state
    assert ur_recovery(running, mode, safety, program) == steps


def test_a_ur_is_never_brought_back_past_a_person():
    for safety in UrSafety:
        if safety in (UrSafety.NORMAL, UrSafety.REDUCED, UrSafety.PROTECTIVE_STOP):
            continue
        with pytest.raises(RecoveryError, match=f"got safety mode {safety.name}"):
            ur_recovery(False, UrMode.RUNNING, safety, "resend")
    with pytest.raises(RecoveryError, match=r"got safety mode nothing, .* start the UR driver"):
        ur_recovery(None, None, None, "resend")
    with pytest.raises(RecoveryError, match=r"got safety mode 77, .* unknown safety mode; look at the teach pendant"):
        ur_recovery(False, UrMode.RUNNING, 77, "resend")


@pytest.mark.parametrize("mode", [UrMode.BACKDRIVE, UrMode.CONFIRM_SAFETY, UrMode.BOOTING, UrMode.DISCONNECTED])
def test_a_ur_that_a_person_has_in_hand_or_that_is_not_ready_is_not_powered_on(mode):
    with pytest.raises(RecoveryError, match=f"got robot mode {mode.name}, expected RUNNING, IDLE or power off"):
        ur_recovery(False, mode, UrSafety.NORMAL, "resend")


def test_a_ur_whose_safety_mode_is_undefined_waits_for_a_person():
    with pytest.raises(RecoveryError, match=r"got safety mode UNDEFINED_SAFETY_MODE, .* look at the teach pendant"):
        ur_recovery(False, UrMode.POWER_OFF, UrSafety.UNDEFINED_SAFETY_MODE, "resend")


@pytest.mark.parametrize("mode", [7, 9, 255, -1])
def test_a_franka_in_a_mode_that_nobody_knows_is_not_recovered(mode):
    with pytest.raises(RecoveryError, match=rf"got a robot in robot_mode {mode}, .*; unknown mode"):
        check_franka_recovers(mode)
