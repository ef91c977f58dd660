import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from defi_sim.block_tasks import held_block
from defi_sim.experts.blocks import NEEDS_HELD_BLOCK
from defi_sim.play import FIRST_TASKS, next_task, opposite, play, possible_tasks
from defi_sim.starts import draw_start, draw_start_for
from defi_sim.tasks import TASKS
from defi_sim.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(cameras=()) as made:
        yield made


@pytest.mark.parametrize(
    ("task", "undoes"),
    [
        ("open_drawer", "close_drawer"),
        ("push_red_block_right", "push_red_block_left"),
        ("turn_off_led", "turn_on_led"),
        ("stack_blocks", "unstack_blocks"),
        ("lift_blue_block", None),
    ],
)
def test_the_opposite_of_a_task_undoes_it(task: str, undoes: str | None):
    assert opposite(task) == undoes
    if undoes is not None:
        assert opposite(undoes) == task


def test_the_next_task_is_feasible_and_does_not_undo_the_last():
    rng = np.random.default_rng(0)
    for seed in range(100):
        scene = draw_start(np.random.default_rng(seed)).scene()
        last = "turn_on_led" if scene.number("led") > 0 else "turn_off_led"
        task = next_task(scene, last, rng)
        assert task.feasible(scene)
        assert task.name != opposite(last)


def test_with_a_block_in_the_gripper_the_next_task_puts_it_somewhere():
    scene = draw_start_for(TASKS["place_on_table"], np.random.default_rng(0)).scene()
    assert {task.name for task in possible_tasks(scene, None)} <= NEEDS_HELD_BLOCK


def test_plays_begin_with_every_task():
    assert set(FIRST_TASKS) == set(TASKS)


def test_a_play_goes_on_where_the_last_task_left_the_scene(world: World):
    segments = list(play(world, 1, 5, "lift_red_block", noise_m=0.0))
    assert [segment.index for segment in segments] == list(range(5))
    assert sum(segment.demonstration.success for segment in segments) >= 4
    assert held_block(segments[0].demonstration.end) == "red_block"
    assert segments[1].task in NEEDS_HELD_BLOCK
    for before, after in itertools.pairwise(segments):
        if not after.first:
            assert after.demonstration.start.to_mapping() == before.demonstration.end.to_mapping()


def test_the_same_seed_gives_the_same_play(world: World):
    def recorded() -> list[tuple[str, bool, bytes]]:
        return [
            (segment.task, segment.demonstration.success, segment.demonstration.ee_pose.tobytes())
            for segment in play(world, 11, 3, "turn_on_led")
        ]

    assert recorded() == recorded()
