import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_ros.control.authority import Authority, Mode


@pytest.fixture
def authority():
    return Authority()


def test_it_starts_in_hold(authority):
    assert (authority.mode, authority.reason) == (Mode.HOLD, "start")


def test_policy_is_handed_the_arm_and_acts_only_on_what_was_seen_later(authority):
    assert authority.request(Mode.POLICY, "task_node", 5_000_000_000) is None
    assert (authority.mode, authority.reason, authority.source) == (Mode.POLICY, "asked for by task_node", "task_node")
    assert authority.try_observation(5_000_000_001) is None
    assert authority.try_observation(4_900_000_000) == (
        "its observation was made 0.10 s before the policy was handed the arm, expected a later one"
    )


def test_asking_again_does_not_restart_the_handover(authority):
    authority.request(Mode.POLICY, "a", 1)
    authority.request(Mode.POLICY, "b", 9)
    assert (authority.since_ns, authority.source) == (1, "b")


def test_outside_policy_no_observation_is_acted_upon(authority):
    assert authority.try_observation(1) == "mode is HOLD (start), expected POLICY"


@pytest.mark.parametrize(("after", "mode"), [(Mode.HOLD, Mode.HOLD), (Mode.POLICY, Mode.POLICY)])
def test_the_deadman_wins_at_once_and_its_release_gives_back(after, mode):
    authority = Authority(after)
    authority.request(Mode.POLICY, "task_node", 1)
    assert authority.teleop("joystick", 2, deadman=True) is None
    assert (authority.mode, authority.reason) == (Mode.TELEOP, "joystick holds the deadman")
    assert (
        authority.request(Mode.POLICY, "task_node", 3) == "POLICY refused: joystick holds the deadman; release it first"
    )
    assert authority.teleop("joystick", 4, deadman=False) is None
    assert (authority.mode, authority.reason, authority.since_ns) == (mode, "joystick released the deadman", 4)
    assert authority.try_observation(3) is not None  # seen before the person let go


def test_two_deadmen_do_not_share_the_arm(authority):
    authority.teleop("joystick", 1, deadman=True)
    assert authority.teleop("leader", 2, deadman=True) == "TELEOP refused: joystick holds the deadman already"
    authority.teleop("leader", 3, deadman=False)
    assert authority.mode == Mode.TELEOP


def test_teleop_cannot_be_asked_for_without_a_deadman(authority):
    assert "expected HOLD or POLICY here" in (authority.request(Mode.TELEOP, "x", 1) or "")


def test_stopped_latches_until_a_reset_that_waits_for_its_cause(authority):
    authority.stop("button", "button is pressed", 1)
    assert (authority.mode, authority.reason) == (Mode.STOPPED, "button is pressed")
    assert authority.request(Mode.HOLD, "me", 2) == (
        "HOLD refused: STOPPED (button is pressed) stands until a reset is asked for explicitly"
    )
    assert authority.teleop("joystick", 3, deadman=True) == (
        "TELEOP refused: STOPPED (button is pressed) stands until a reset is asked for explicitly"
    )
    assert authority.request(Mode.HOLD, "me", 4, reset=True) == (
        "reset refused, because this still stands: button is pressed"
    )
    authority.cause_gone("button")
    assert authority.mode == Mode.STOPPED
    assert authority.request(Mode.HOLD, "me", 5, reset=True) is None
    assert (authority.mode, authority.reason) == (Mode.HOLD, "reset and asked for by me")


def test_a_stop_that_was_asked_for_has_no_lasting_cause(authority):
    assert authority.request(Mode.STOPPED, "me", 1) is None
    assert authority.mode == Mode.STOPPED
    assert authority.request(Mode.HOLD, "me", 2, reset=True) is None


def test_hold_takes_the_arm_away_with_a_reason_but_never_ends_a_stop(authority):
    authority.request(Mode.POLICY, "task_node", 1)
    authority.hold("the arm does not follow", 2)
    assert (authority.mode, authority.reason, authority.source) == (Mode.HOLD, "the arm does not follow", "arm bridge")
    authority.stop("button", "pressed", 3)
    authority.hold("x", 4)
    assert authority.mode == Mode.STOPPED


calls = st.one_of(
    st.tuples(st.just("request"), st.sampled_from(list(Mode)), st.just(False)),
    st.tuples(st.just("teleop"), st.booleans(), st.just(False)),
    st.tuples(st.just("hold"), st.none(), st.none()),
)


@settings(max_examples=300)
@given(program=st.lists(calls, max_size=30))
def test_nothing_but_a_reset_ends_a_stop_and_every_mode_has_a_reason(program):
    authority = Authority(Mode.POLICY)
    authority.stop("button", "button is pressed", 0)
    for now_ns, (call, argument, _) in enumerate(program, start=1):
        if call == "request":
            authority.request(argument, "somebody", now_ns)
        elif call == "teleop":
            authority.teleop("joystick", now_ns, deadman=argument)
        else:
            authority.hold("because", now_ns)
        assert authority.mode == Mode.STOPPED and authority.reason


def test_a_person_who_took_over_a_holding_arm_gives_it_back_to_nobody():
    authority = Authority(Mode.POLICY)
    authority.teleop("joystick", 1, deadman=True)
    authority.teleop("joystick", 2, deadman=False)
    assert authority.mode == Mode.HOLD


def test_a_deadman_held_through_a_stop_and_its_reset_moves_nothing_until_pressed_anew(authority):
    authority.teleop("joystick", 1, deadman=True)
    authority.stop("button", "button is pressed", 2)
    authority.cause_gone("button")
    assert authority.request(Mode.HOLD, "me", 3, reset=True) is None
    assert authority.teleop("joystick", 4, deadman=True) == (
        "TELEOP refused: joystick held the deadman when the arm was STOPPED; release it and press it anew"
    )
    authority.teleop("joystick", 5, deadman=False)
    assert authority.teleop("joystick", 6, deadman=True) is None


def test_a_deadman_pressed_while_stopped_does_not_count_after_the_reset(authority):
    authority.request(Mode.STOPPED, "me", 1)
    authority.teleop("joystick", 2, deadman=True)
    authority.request(Mode.HOLD, "me", 3, reset=True)
    assert "press it anew" in (authority.teleop("joystick", 4, deadman=True) or "")
    assert authority.teleop("leader", 5, deadman=True) is None


def test_a_refused_reset_names_every_cause_that_stands(authority):
    authority.stop("button", "emergency stop is pressed", 1)
    authority.stop("robot", "robot: mode is IDLE, expected MOVE", 2)
    assert authority.request(Mode.HOLD, "me", 3, reset=True) == (
        "reset refused, because this still stands: emergency stop is pressed; robot: mode is IDLE, expected MOVE"
    )


def test_an_arm_taken_away_from_a_person_waits_for_a_new_press(authority):
    authority.teleop("joystick", 1, deadman=True)
    authority.hold("the arm does not follow", 2)
    assert authority.teleop("joystick", 3, deadman=True) == (
        "TELEOP refused: joystick held the deadman when the arm does not follow; release it and press it anew"
    )
    assert authority.mode == Mode.HOLD


def test_asking_for_a_stop_does_not_end_the_cause_of_another(authority):
    authority.stop("button", "button is pressed", 1)
    assert authority.request(Mode.STOPPED, "button", 2) is None
    assert "because this still stands: button is pressed" in (authority.request(Mode.HOLD, "me", 3, reset=True) or "")
