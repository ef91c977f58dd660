import itertools
from collections import Counter

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_sim.chains import LENGTH, Symbols, category, draw_chain
from defi_sim.starts import draw_start
from defi_sim.tasks import TASKS

CHAINS = [draw_chain(0, index) for index in range(60)]


def test_a_chain_depends_on_its_numbers_alone():
    again, other, elsewhere = draw_chain(0, 7), draw_chain(0, 8), draw_chain(1, 7)
    assert again.tasks == CHAINS[7].tasks
    np.testing.assert_array_equal(again.start.ee_pose, CHAINS[7].start.ee_pose)
    assert len({again.start.switch, other.start.switch, elsewhere.start.switch}) == 3


def test_every_task_of_a_chain_is_possible_after_those_before_it_and_no_category_comes_twice():
    for chain in CHAINS:
        symbols = Symbols.of(chain.start)
        for task in chain.tasks:
            assert symbols.allows(task), chain.tasks
            symbols = symbols.after(task)
        assert len(chain.tasks) == LENGTH
        assert len({category(TASKS[task]) for task in chain.tasks}) == LENGTH


def test_after_a_lift_the_block_is_put_somewhere():
    for chain in CHAINS:
        for task, following in itertools.pairwise(chain.tasks):
            if task.startswith("lift_"):
                assert following in ("place_on_table", "place_in_drawer", "stack_blocks")


def test_symbols_of_a_start_allow_what_the_scene_allows():
    for seed in range(50):
        start = draw_start(np.random.default_rng(seed))
        symbols, scene = Symbols.of(start), start.scene()
        for task in TASKS.values():
            assert symbols.allows(task.name) == task.feasible(scene), task.name


@pytest.mark.parametrize("task", ["open_drawer", "move_door_left", "turn_on_lamp", "turn_off_led"])
def test_a_fixture_task_cannot_be_done_twice_in_a_row(task: str):
    symbols = Symbols(False, False, False, True, frozenset(), frozenset())
    assert symbols.allows(task)
    assert not symbols.after(task).allows(task)


def test_chains_ask_for_every_task_and_for_none_too_often():
    counts = Counter(task for chain in CHAINS for task in chain.tasks)
    assert set(counts) == set(TASKS)
    assert max(counts.values()) < 0.6 * len(CHAINS)


def test_an_unknown_split_is_refused():
    with pytest.raises(ConfigError, match="got 'dev', expected one of"):
        draw_chain(0, 0, "dev")
