import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_sim.scene import MATERIALS
from defi_sim.style import SPLITS, SceneStyle, draw_desk
from defi_sim.world import World

SEEDS = range(200)


def styles(split: str) -> list[SceneStyle]:
    return [SceneStyle.draw(np.random.default_rng(seed), split) for seed in SEEDS]


@pytest.mark.parametrize("surface", ["wall", "floor", "desk", "desk_inside"])
def test_no_test_scene_has_a_surface_as_bright_as_one_of_a_train_scene(surface: str):
    train, test = ([max(style.colours[surface]) for style in styles(split)] for split in ("train", "test"))
    assert max(train) < min(test) or max(test) < min(train)


def test_tables_cameras_lights_and_desks_of_the_splits_do_not_overlap():
    train, test = styles("train"), styles("test")
    assert not {style.pattern for style in train} & {style.pattern for style in test}
    for measure in (
        lambda style: np.linalg.norm(style.camera_offset),
        lambda style: np.linalg.norm(style.target_offset),
        lambda style: abs(style.fovy_offset_deg),
        lambda style: abs(style.light_turn_rad),
        lambda style: -style.light,
    ):
        assert max(map(measure, train)) < min(map(measure, test))
    desks = {split: [np.abs(draw_desk(np.random.default_rng(seed), split)).max() for seed in SEEDS] for split in SPLITS}
    assert max(desks["train"]) < min(desks["test"])


@pytest.mark.parametrize("split", list(SPLITS))
def test_things_that_tasks_name_keep_their_colour(split: str):
    for name in ("red_block", "blue_block", "pink_block", "drawer", "button"):
        as_drawn = np.array([float(value) for value in MATERIALS[name].split()[:3]])
        assert max(np.abs(np.array(style.colours[name]) - as_drawn).max() for style in styles(split)) < 0.15


def test_a_seed_starts_its_scene_alike_in_both_splits_but_looks_different():
    with World(cameras=("static",), image_size=(32, 32)) as world:
        world.reset(3, split="train")
        blocks, seen = world.scene().block("red_block"), world.render("static")
        world.reset(3, split="test")
        np.testing.assert_allclose(world.scene().block("red_block"), blocks, atol=1e-3)
        assert np.abs(world.render("static").astype(int) - seen).mean() > 5


def test_an_unknown_split_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"got 'tset', expected one of \['drawn', 'train', 'test'\]"):
        SceneStyle.draw(np.random.default_rng(0), "tset")
