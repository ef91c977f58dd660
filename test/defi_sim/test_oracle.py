"""What the oracle remembers and when it speaks."""

import numpy as np
import pytest

from defi_sim.oracle import TaskOracle
from defi_sim.starts import draw_start_for
from defi_sim.state import SceneState
from defi_sim.tasks import task_named


@pytest.fixture
def closed():
    return draw_start_for(task_named("open_drawer"), np.random.default_rng(0)).scene()


def opened(scene):
    return SceneState.from_mapping(scene.to_mapping() | {"drawer": 0.16})


def test_it_is_silent_until_the_task_is_done_and_then_speaks_once(closed):
    oracle = TaskOracle()
    oracle.instruct("a", "Open the  drawer", closed)
    assert oracle.check(closed) is None
    outcome = oracle.check(opened(closed))
    assert outcome is not None
    assert outcome.task_id == "a"
    assert oracle.check(opened(closed)) is None


def test_what_was_done_before_the_instruction_does_not_count(closed):
    oracle = TaskOracle()
    oracle.instruct("a", "open the drawer", opened(closed))
    assert oracle.check(opened(closed)) is None


def test_an_unknown_instruction_is_never_judged_and_says_why(closed):
    oracle = TaskOracle()
    oracle.instruct("a", "make coffee", closed)
    assert not oracle.watching
    assert "not judged" in (oracle.unknown or "")


def test_an_empty_instruction_ends_the_attempt(closed):
    oracle = TaskOracle()
    oracle.instruct("a", "open the drawer", closed)
    oracle.instruct("", "", closed)
    assert oracle.check(opened(closed)) is None
    assert oracle.unknown is None


def test_a_reset_begins_the_attempt_again(closed):
    oracle = TaskOracle()
    oracle.instruct("a", "open the drawer", closed)
    oracle.restart(opened(closed))
    assert oracle.check(opened(closed)) is None
