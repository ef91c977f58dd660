import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_sim.demonstrations import demonstrate
from defi_sim.embodiment import EMBODIMENTS, PANDA
from defi_sim.world import World

SEED, TASK = 3, "open_drawer"


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each embodiment what the camera saw, and where everything was."""
    found = {}
    for name in EMBODIMENTS:
        with World(cameras=("static",), image_size=(96, 96), embodiment=name) as world:
            world.reset(SEED, task=TASK)
            demo = demonstrate(world, TASK, np.random.default_rng(0), rate_hz=2)
            moved = np.hstack([demo.joint_positions, demo.ee_pose, demo.gripper[:, None]])
            assert demo.success
            found[name] = demo.images["static"].astype(int), np.append(moved, demo.end.number("drawer"))
    return found


@pytest.mark.parametrize("name", [name for name in EMBODIMENTS if name != PANDA])
def test_another_body_moves_exactly_as_the_panda_does_and_looks_different(name: str, seen):
    images, moved = seen[name]
    panda_images, panda_moved = seen[PANDA]
    np.testing.assert_array_equal(moved, panda_moved)
    differs = np.abs(images - panda_images).max(-1) > 40
    assert (differs.mean((1, 2)) > 0.01).all(), "in every frame the body differs"
    assert differs.mean() < 0.5, "the scene around it does not"


def test_other_bodies_differ_from_each_other(seen):
    arm, hand = seen["other_arm"][0], seen["hand"][0]
    assert (np.abs(arm - hand).max(-1) > 40).mean() > 0.01


def test_a_scene_gives_its_body_other_colours_but_always_the_same_ones():
    with World(cameras=("static",), image_size=(64, 64), embodiment="hand") as world:
        pictures = []
        for seed in (5, 6, 5):
            world.reset(seed)
            pictures.append(world.render("static"))
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert (pictures[0] != pictures[1]).any()


def test_an_unknown_embodiment_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"got 'octopus', expected one of \['panda', 'other_arm', 'hand'\]"):
        World(embodiment="octopus")
