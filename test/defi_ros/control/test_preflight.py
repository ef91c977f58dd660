import dataclasses

import numpy as np
import pytest

from defi_models.contract import PolicySpec, PreflightError
from defi_ros.control.preflight import check_policy_fits_robot, check_robot_fits_description


@pytest.fixture
def policy():
    return PolicySpec(
        "nano", "abc123", "franka_panda", ("static", "wrist"), (128, 128), "ee_pose", 16, 50_000_000, (4, 8)
    )


def test_a_policy_made_for_the_arm_fits(policy, spec):
    check_policy_fits_robot(policy, spec)
    check_policy_fits_robot(dataclasses.replace(policy, arm="any", cameras=()), spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": "ur5e"}, "arm: got a policy for 'ur5e', expected 'franka_panda'"),
        ({"cameras": ("static", "roof")}, r"missing \['roof'\], there are \['static', 'wrist'\]"),
        (
            {"step_ns": 1_000_000},
            r"step: got targets every 1.00 ms, expected at least one command apart, 5.00 ms at 200 Hz",
        ),
        (
            {"space": "joint_positions", "joints": 6},
            "space: got targets of 6 joints, expected",
        ),
        ({"chunk_steps": 1}, r"chunk: got 1 targets that last 0.05 s, expected more than policy.replan_s, 0.20 s"),
        ({"needs_scene": True}, "scene: got a policy that reads the scene's ground truth.*simulation only"),
    ],
)
def test_each_mismatch_is_named(policy, spec, changes, message):
    with pytest.raises(PreflightError, match=message):
        check_policy_fits_robot(dataclasses.replace(policy, **changes), spec, replan_s=0.2, simulated=False)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            16,
            r"got 16 targets that last 0.80 s, expected more than the 16 targets that it wants carried out .*, 0.80 s",
        ),
        (8, r"got chunks 0.40 s apart, by the 8 targets .*, expected at most control.chunk_timeout_s, 0.30 s"),
    ],
)
def test_a_horizon_that_would_stop_the_arm_between_two_chunks_is_refused(policy, spec, steps, message):
    """Only replan_s was looked at, so that a policy with a long horizon came to rest after every chunk."""
    wanting = dataclasses.replace(policy, horizon_steps=steps)
    with pytest.raises(PreflightError, match=message):
        check_policy_fits_robot(wanting, spec, replan_s=0.2, chunk_timeout_s=0.3)
    check_policy_fits_robot(dataclasses.replace(policy, horizon_steps=6), spec, replan_s=0.2, chunk_timeout_s=0.3)


def test_all_mismatches_come_at_once(policy, spec):
    wrong = dataclasses.replace(policy, arm="ur5e", cameras=("roof",), step_ns=1)
    with pytest.raises(
        PreflightError, match=r"(?s)policy 'nano' \(abc123\) does not fit robot 'franka':.*arm.*cameras.*step"
    ):
        check_policy_fits_robot(wrong, spec)


def test_in_simulation_a_policy_may_read_the_scene(policy, spec):
    check_policy_fits_robot(dataclasses.replace(policy, needs_scene=True), spec, simulated=True)


def test_a_policy_that_reads_no_pose_runs_without_a_tip_frame(policy, spec):
    bare = dataclasses.replace(spec, tip_frame="")
    in_joints = dataclasses.replace(policy, space="joint_positions", joints=len(spec.joint_names))
    with pytest.raises(PreflightError, match="proprioception: got a policy that reads the tool's pose"):
        check_policy_fits_robot(in_joints, bare)
    check_policy_fits_robot(dataclasses.replace(in_joints, reads_tool_pose=False), bare)


@pytest.mark.parametrize(
    "changes",
    [
        {"cameras": ("static",)},
        {"image_size": (256, 256)},
        {"space": "joint_positions", "joints": None},
        {"chunk_steps": 40, "step_ns": 33_333_333, "horizon_steps": 8},
        {"reads_tool_pose": False},
    ],
)
def test_models_of_other_shapes_fit_too(policy, spec, changes):
    """Images are resized, cameras may be fewer than the robot has, and chunks of any length are carried out in time."""
    if "joints" in changes:
        changes = changes | {"joints": len(spec.joint_names)}
    check_policy_fits_robot(dataclasses.replace(policy, **changes), spec, replan_s=0.2)


# Robot file and robot description ------------------------------------------------------------------------------------


@pytest.fixture
def stated(spec):
    """What a description says that agrees with the robot file, and where its tool is at home."""
    return {
        "lower": spec.limits.lower.copy(),
        "upper": spec.limits.upper.copy(),
        "velocity": spec.limits.velocity.copy(),
        "tip_at_home": np.array([0.307, 0.0, 0.487]),
    }


def with_limits(spec, **rows):
    return dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, **rows))


def test_a_file_that_says_what_the_description_says_fits(spec, stated):
    check_robot_fits_description(spec, **stated)


def test_a_file_may_ask_for_less_and_round(spec, stated):
    limits = spec.limits
    less = with_limits(spec, lower=limits.lower + 0.01, upper=limits.upper - 0.01, velocity=0.1 * limits.velocity)
    check_robot_fits_description(less, **stated)
    rounded = with_limits(spec, lower=limits.lower - 0.005, upper=limits.upper + 0.005, velocity=1.04 * limits.velocity)
    check_robot_fits_description(rounded, **stated)


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_range_beyond_that_of_the_description_is_refused_on_either_side(spec, stated, side):
    stated[side][3] += 0.1 if side == "lower" else -0.1
    with pytest.raises(
        PreflightError,
        match=r"robot file 'franka' does not fit .* in rad, rad/s and m:\n  - joints.lower, joints.upper of panda_joint4: "
        r"got -3.0718..-0.0698 rad, expected within -\d",
    ):
        check_robot_fits_description(spec, **stated)


def test_ranges_in_degrees_and_speeds_in_degrees_a_second_are_named_joint_by_joint(spec, stated):
    limits, degrees = spec.limits, 180.0 / np.pi
    wrong = with_limits(
        spec, lower=limits.lower * degrees, upper=limits.upper * degrees, velocity=limits.velocity * degrees
    )
    with pytest.raises(PreflightError) as raised:
        check_robot_fits_description(wrong, **stated)
    text = str(raised.value)
    assert text.count("joints.lower, joints.upper of") == 7 and text.count("joints.velocity of") == 7
    assert "panda_joint1: got -166.003..166.003 rad, expected within -2.8973..2.8973 rad" in text


def test_a_speed_of_more_than_a_twentieth_above_the_description_s_is_refused(spec, stated):
    fast = with_limits(spec, velocity=1.06 * spec.limits.velocity)
    with pytest.raises(
        PreflightError, match=r"joints.velocity of panda_joint1: got 1.6\d+ rad/s in use, expected at most"
    ):
        check_robot_fits_description(fast, **stated)


@pytest.mark.parametrize("nothing", [0.0, np.inf, np.nan])
def test_what_a_description_does_not_state_binds_nobody(spec, stated, nothing):
    silent = stated | {
        "lower": np.full(7, -nothing),
        "upper": np.full(7, nothing),
        "velocity": np.full(7, nothing),
    }
    check_robot_fits_description(spec, **silent)


def test_of_a_range_with_one_end_that_end_binds(spec, stated):
    stated["upper"][:] = np.inf
    check_robot_fits_description(spec, **stated)
    stated["lower"][0] = -1.0
    with pytest.raises(PreflightError, match=r"panda_joint1: got -2.8973..2.8973 rad, expected within -1..inf rad"):
        check_robot_fits_description(spec, **stated)


def test_a_home_outside_the_workspace_is_refused_with_both_places(spec, stated):
    box = dataclasses.replace(spec.workspace, lower=[0.2, -0.5, 2.0], upper=[0.8, 0.5, 3.0])
    with pytest.raises(
        PreflightError,
        match=r"home: got panda_hand_tcp at \(0.307, 0, 0.487\) m, expected inside the workspace "
        r"\(0.2, -0.5, 2\)..\(0.8, 0.5, 3\) m, which is 1.513 m away; correct home, workspace or tip_frame",
    ):
        check_robot_fits_description(dataclasses.replace(spec, workspace=box), **stated)


def test_a_home_behind_a_wall_of_the_workspace_is_refused(spec, stated):
    walled = dataclasses.replace(spec.workspace, planes=np.array([[0.0, 1.0, 0.0, 0.1]]))
    with pytest.raises(PreflightError, match=r"home: .* m and 1 planes, which is 0.100 m away"):
        check_robot_fits_description(dataclasses.replace(spec, workspace=walled), **stated)


def test_a_home_that_nobody_can_say_is_not_inside(spec, stated):
    with pytest.raises(PreflightError, match="home: got panda_hand_tcp at"):
        check_robot_fits_description(spec, **(stated | {"tip_at_home": np.full(3, np.nan)}))
