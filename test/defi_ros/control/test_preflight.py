import dataclasses

import pytest

from defi_models.contract import PolicySpec, PreflightError
from defi_ros.control.preflight import check_policy_fits_robot


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
        ({"chunk_steps": 1}, "chunk: got 1 targets that last 0.05 s, expected at least policy.replan_s, 0.20 s"),
        ({"needs_scene": True}, "scene: got a policy that reads the scene's ground truth.*simulation only"),
    ],
)
def test_each_mismatch_is_named(policy, spec, changes, message):
    with pytest.raises(PreflightError, match=message):
        check_policy_fits_robot(dataclasses.replace(policy, **changes), spec, replan_s=0.2, simulated=False)


def test_all_mismatches_come_at_once(policy, spec):
    wrong = dataclasses.replace(policy, arm="ur5e", cameras=("roof",), step_ns=1)
    with pytest.raises(
        PreflightError, match=r"(?s)policy 'nano' \(abc123\) does not fit robot 'franka':.*arm.*cameras.*step"
    ):
        check_policy_fits_robot(wrong, spec)


def test_in_simulation_a_policy_may_read_the_scene(policy, spec):
    check_policy_fits_robot(dataclasses.replace(policy, needs_scene=True), spec, simulated=True)


def test_a_policy_that_needs_no_proprioception_runs_without_a_tip_frame(policy, spec):
    bare = dataclasses.replace(spec, tip_frame="")
    in_joints = dataclasses.replace(policy, space="joint_positions", joints=len(spec.joint_names))
    with pytest.raises(PreflightError, match="proprioception: got a policy that reads the tool's pose"):
        check_policy_fits_robot(in_joints, bare)
    check_policy_fits_robot(dataclasses.replace(in_joints, uses_proprioception=False), bare)


@pytest.mark.parametrize(
    "changes",
    [
        {"cameras": ("static",)},
        {"image_size": (256, 256)},
        {"space": "joint_positions", "joints": None},
        {"chunk_steps": 40, "step_ns": 33_333_333, "horizon_steps": 8},
        {"uses_proprioception": False},
    ],
)
def test_models_of_other_shapes_fit_too(policy, spec, changes):
    """Images are resized, cameras may be fewer than the robot has, and chunks of any length are carried out in time."""
    if "joints" in changes:
        changes = changes | {"joints": len(spec.joint_names)}
    check_policy_fits_robot(dataclasses.replace(policy, **changes), spec, replan_s=0.2)
