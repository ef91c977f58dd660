"""The simulated table: seeded resets, servos, lamp and LED, cameras."""

import threading

import numpy as np
import pytest

from defi_models.contract import ConfigError, ContractError, DefiError, TaskError
from defi_ros.control.kinematics import Kinematics
from defi_sim import starts
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description
from defi_sim.scene import BUTTON_TRAVEL
from defi_sim.starts import draw_start_for
from defi_sim.state import SceneState
from defi_sim.task import Task
from defi_sim.tasks import TASKS
from defi_sim.world import World


@pytest.fixture(scope="module")
def world():
    with World(image_size=(64, 96)) as made:
        yield made


def looks(world: World) -> dict[str, bytes]:
    return {camera: image.tobytes() for camera, image in world.look().items()}


def test_the_same_seed_gives_the_same_state_and_the_same_images(world: World):
    world.reset(7)
    state, seen, joints = world.scene().to_mapping(), looks(world), world.joint_positions()
    world.reset(8)
    world.step(100)
    world.reset(7)
    assert world.scene().to_mapping() == state
    assert looks(world) == seen
    np.testing.assert_array_equal(world.joint_positions(), joints)
    assert world.time_ns == 0


def test_different_seeds_differ_in_state_and_looks(world: World):
    world.reset(1)
    state, seen = world.scene().to_mapping(), looks(world)
    world.reset(2)
    assert world.scene().to_mapping() != state
    assert all(looks(world)[camera] != seen[camera] for camera in seen)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_reset_for_a_task_makes_it_feasible_in_the_settled_scene(world: World, name: str):
    for seed in range(2):
        world.reset(seed, task=name)
        assert TASKS[name].feasible(world.scene())
        assert not TASKS[name].success(world.scene(), world.scene())


def test_a_reset_for_an_unknown_task_names_the_nearest(world: World):
    with pytest.raises(TaskError, match=r"got 'open_drawr'.*nearest.*open_drawer"):
        world.reset(0, task="open_drawr")


def test_a_task_that_is_never_feasible_is_reported_instead_of_searched_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(starts, "MAX_DRAWS", 20)
    never = Task("never", "none", ("never",), lambda start, now: False, lambda start: False)
    with pytest.raises(DefiError, match="no feasible start in 20 draws"):
        draw_start_for(never, np.random.default_rng(0))


def test_a_given_start_is_restored(world: World):
    world.reset(3)
    wanted = world.scene()
    world.reset(4, start=wanted)
    now = world.scene()
    for name in ("drawer", "door", "switch", "lamp", "led", "red_block"):
        np.testing.assert_allclose(now.values[name], wanted.values[name], atol=2e-3)


def test_fixtures_stay_where_they_are_left(world: World):
    world.reset(5)
    before = world.scene()
    world.step(1000)
    for name in ("drawer", "door", "switch", "red_block", "blue_block", "pink_block"):
        np.testing.assert_allclose(world.scene().values[name], before.values[name], atol=1e-3)


def test_the_arm_holds_still_and_follows_a_set_point(world: World):
    world.reset(0)
    held = world.joint_positions()
    world.step(500)
    np.testing.assert_allclose(world.joint_positions(), held, atol=1e-3)
    target = held + np.array([0.1, -0.05, 0.05, -0.1, 0.1, 0.1, -0.1])
    world.command_joints(target)
    world.step(400)
    np.testing.assert_allclose(world.joint_positions(), target, atol=2e-3)
    assert np.abs(world.joint_velocities()).max() < 0.01
    assert world.time_ns == 1_800_000_000


def test_gripper_opens_and_closes_over_its_full_width(world: World):
    world.reset(0)
    for opening in (1.0, 0.0, 0.5):
        world.command_gripper(opening)
        world.step(500)
        assert world.gripper_opening() == pytest.approx(opening, abs=0.02)


def test_measured_tip_pose_agrees_with_the_robot_description(world: World):
    kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)
    for seed in range(3):
        world.reset(seed)
        expected, measured = kinematics.forward(world.joint_positions()), world.ee_pose()
        np.testing.assert_allclose(measured[:3], expected[:3], atol=1e-5)
        assert abs(measured[3:] @ expected[3:]) == pytest.approx(1.0, abs=1e-6)


def test_a_joint_command_of_the_wrong_length_is_refused(world: World):
    with pytest.raises(ContractError, match=r"joint command: got shape \(6,\), expected \(7\)"):
        world.command_joints(np.zeros(6))


def test_a_press_toggles_the_led_once_however_long_it_lasts(world: World):
    world.reset(0)
    lit = world.scene().number("led")
    button = world._fixtures["button"]
    for depth, wanted in ((BUTTON_TRAVEL, 1 - lit), (BUTTON_TRAVEL, 1 - lit), (0.0, 1 - lit), (BUTTON_TRAVEL, lit)):
        world._data.qpos[button] = depth
        world.step(1)
        assert world.scene().number("led") == wanted


def test_lamp_and_led_are_seen_from_the_static_camera(world: World):
    world.reset(0)
    for light in ("lamp", "led"):
        world._lights[light] = False
        dark = world.render("static").astype(int)
        world._lights[light] = True
        assert np.abs(world.render("static").astype(int) - dark).max() > 100


def test_cameras_give_rgb_of_the_size_asked_for(world: World):
    for camera in ("static", "wrist"):
        image = world.render(camera)
        assert image.shape == (64, 96, 3)
        assert image.dtype == np.uint8
        assert image.std() > 10


def test_an_unknown_camera_is_refused_with_the_names_that_exist(world: World):
    with pytest.raises(ConfigError, match=r"got 'ceiling', expected one of \['static', 'wrist'\]"):
        world.render("ceiling")
    with pytest.raises(ConfigError, match=r"got \['ceiling'\], expected names among"):
        World(cameras=("ceiling",))


def test_another_thread_draws_the_captured_time_while_physics_goes_on(world: World):
    world.reset(0)
    captured = threading.Event()
    moved = threading.Event()
    seen: dict[str, object] = {}

    def draw() -> None:
        rig = world.camera_rig()
        seen["time"] = rig.capture()
        seen["first"] = rig.render("wrist").tobytes()
        captured.set()
        assert moved.wait(10)
        seen["again"] = rig.render("wrist").tobytes()
        rig.close()

    thread = threading.Thread(target=draw, name="test-cameras")
    thread.start()
    assert captured.wait(10)
    world.command_joints(world.joint_positions() + 0.1)
    world.step(200)
    moved.set()
    thread.join(10)
    assert not thread.is_alive()
    assert seen["time"] == 0
    assert seen["first"] == seen["again"]


def test_scene_state_survives_its_flat_form(world: World):
    world.reset(6)
    state = world.scene()
    assert SceneState.from_mapping(state.to_mapping()).to_mapping() == state.to_mapping()
    flat = state.to_mapping()
    del flat["drawer"]
    with pytest.raises(ContractError, match=r"missing \['drawer'\], unknown \[\]"):
        SceneState.from_mapping(flat)
