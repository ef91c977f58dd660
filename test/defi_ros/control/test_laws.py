"""The laws of the safety filter, over targets of every kind; what each run drew is said at its end.

pytest test/defi_ros/control/test_laws.py                              a share of them, as in `make test`
pytest test/defi_ros/control/test_laws.py --hypothesis-profile=laws    all: more than 100,000 targets
"""

from __future__ import annotations

import collections
import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import NS_PER_S
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.monitor import LimitMonitor
from defi_ros.control.safety import SafetyFilter, Verdict
from defi_ros.control.teleop import TeleopInput

WHOLE = settings.get_current_profile_name() == "laws"
pytestmark = pytest.mark.timeout(3600 if WHOLE else 300)
RATE_HZ = 200
PERIOD_NS = NS_PER_S // RATE_HZ
START_NS = 1_750_000_000 * NS_PER_S
LONGEST_STOP = RATE_HZ // 2  # periods
KINDS = ("near", "anywhere", "far", "rubbish", "wrong size", "no numbers", "rest")
COUNTS: collections.Counter[str] = collections.Counter()

numbers = st.one_of(
    st.floats(-4, 4),
    st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True),
    st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1e308, -1e308, np.nan, np.inf, -np.inf]),
)
targets = st.one_of(
    st.tuples(st.just("near"), st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7)),
    st.tuples(st.just("anywhere"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("far"), st.lists(st.floats(-1e3, 1e3), min_size=7, max_size=7)),
    st.tuples(st.just("rubbish"), st.lists(numbers, min_size=7, max_size=7)),
    st.tuples(st.just("wrong size"), st.lists(numbers, max_size=9).filter(lambda row: len(row) != 7)),
    st.tuples(st.just("no numbers"), st.sampled_from(["north", None, [[0.0] * 7], {}, [object()] * 7])),
    st.tuples(st.just("rest"), st.none()),
)
# (what is asked for, for how many periods)
starts = st.one_of(st.none(), st.integers(0, 2**32 - 1))  # home, or any posture, most of them outside the workspace
least, most, periods = (30, 40, 4) if WHOLE else (4, 16, 12)
programs = st.lists(st.tuples(targets, st.integers(1, periods)), min_size=least, max_size=most)


def share(quick: int, whole: int) -> settings:
    """How many programs are drawn."""
    return settings(max_examples=whole if WHOLE else quick)


def meant(spec, state, kind, value):
    """What a drawn target stands for."""
    if kind == "near":
        return state.p + np.array(value)
    if kind == "anywhere":
        return np.random.default_rng(value).uniform(spec.limits.lower, spec.limits.upper)
    return value


def play(spec, safety, program):
    """Each command that a program of targets brings forth."""
    for (kind, value), periods in program:
        COUNTS[kind] += 1
        target = meant(spec, safety.state, kind, value)
        for _ in range(periods):
            COUNTS["commands"] += 1
            yield kind, safety.rest() if kind == "rest" else safety.step(target)


@pytest.fixture
def safety(spec, kinematics):
    return SafetyFilter(spec, kinematics, RATE_HZ)


@share(40, 3300)
@given(start=starts, program=programs)
def test_no_command_ever_leaves_a_limit_and_an_empty_queue_always_reaches_rest(
    spec, kinematics, safety, start, program
):
    began = spec.home if start is None else meant(spec, safety.state, "anywhere", start)
    safety.reset(began)
    monitor = LimitMonitor(spec, RATE_HZ)
    monitor.check(began, kinematics.tip(began))
    for kind, command in play(spec, safety, program):
        fault = monitor.check(command.positions, kinematics.forward(command.positions)[:3])
        assert not fault, f"after {kind}: {fault}"
        assert np.isfinite(command.positions).all() and np.isfinite(command.velocities).all()
        if kind in ("rubbish", "wrong size", "no numbers"):
            assert command.verdict != Verdict.PASSED or kind == "rubbish"
    for _ in range(LONGEST_STOP):
        command = safety.rest()
        assert not monitor.check(command.positions, kinematics.forward(command.positions)[:3])
    assert not command.velocities.any() and not command.accelerations.any()
    np.testing.assert_array_equal(safety.rest().positions, command.positions)


@share(20, 300)
@given(program=programs)
def test_filtering_twice_changes_nothing(robot, kinematics, program):
    """What a filter with tighter limits lets out passes to less than a thousandth, and exactly once it stands.

    Tighter, because the second filter knows positions alone: the velocity it estimates from them lags by half a period,
    which at the very limits is a velocity too many.
    """
    scale = dataclasses.replace(robot.joints.limit_scale, velocity=0.5, acceleration=0.4, jerk=0.1)
    tighter = dataclasses.replace(
        robot,
        joints=dataclasses.replace(robot.joints, limit_scale=scale),
        workspace=dataclasses.replace(robot.workspace, velocity_m_s=0.4),
    ).spec
    first, second = SafetyFilter(tighter, kinematics, RATE_HZ), SafetyFilter(robot.spec, kinematics, RATE_HZ)
    for _, command in play(tighter, first, program):
        twice = second.step(command.positions)
        assert np.abs(twice.positions - command.positions).max() < 1e-3, twice.reason
    for _ in range(2 * LONGEST_STOP):
        command = first.rest()
        twice = second.step(command.positions)
    np.testing.assert_allclose(twice.positions, command.positions, atol=1e-9)


events = st.lists(
    st.tuples(
        st.sampled_from(["tick", "back", "far back", "burst", "leap", "silence", "teleop", "policy", "stop", "reset"]),
        st.integers(1, 8),
    ),
    min_size=2,
    max_size=20,
)


@share(20, 300)
@given(program=events)
def test_a_clock_that_runs_backwards_leaps_or_bursts_moves_nothing_beyond_a_limit(robot, kinematics, program):
    core, now_ns, rng = (
        ArmCore(robot.spec, robot.control, robot.gripper, kinematics),
        START_NS,
        np.random.default_rng(0),
    )
    measured = np.array(robot.spec.home)
    for event, times in program:
        COUNTS["clock events"] += 1
        for _ in range(times):
            now_ns += {"back": -PERIOD_NS, "far back": -3600 * NS_PER_S, "burst": 1, "leap": 3600 * NS_PER_S}.get(
                event, PERIOD_NS
            )
            if event != "silence":
                core.on_state(now_ns, measured, now_ns, 1.0)
            if event == "teleop":
                core.on_teleop(teleop(rng.uniform(-0.5, 0.5, 6)), now_ns)
            elif event == "policy":
                core.request(Mode.POLICY, "law", now_ns)
            elif event in ("stop", "reset"):
                core.request(Mode.STOPPED if event == "stop" else Mode.HOLD, "law", now_ns, reset=event == "reset")
            command = core.tick(now_ns)
            if command.positions is not None:
                measured = measured + 0.5 * (command.positions - measured)
    for _ in range(LONGEST_STOP + RATE_HZ):
        now_ns += PERIOD_NS
        core.on_state(now_ns, measured, now_ns, 1.0)
        command = core.tick(now_ns)
        measured = measured if command.positions is None else measured + 0.5 * (command.positions - measured)
    assert core.limit_violations == 0, core.monitor.last
    assert command.at_rest


def teleop(twist):
    return TeleopInput("law", True, np.asarray(twist), 1.0)


def test_what_was_drawn_is_enough(record_testsuite_property):
    drawn = sum(COUNTS[kind] for kind in KINDS)
    for name, count in COUNTS.items():
        record_testsuite_property(f"laws: {name}", count)
    sys.stdout.write(f"\nlaws: {drawn} targets {dict(COUNTS)}\n")
    assert drawn >= (100_000 if WHOLE else 200)
