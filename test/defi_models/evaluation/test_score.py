import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_models.evaluation.interval import length_interval, wilson_interval
from defi_models.evaluation.score import ChainRun, ChainScore

TASKS = ("a", "b", "c", "d", "e")


def score(*lengths: int) -> ChainScore:
    return ChainScore([ChainRun(i, TASKS, (10,) * length, 1.0) for i, length in enumerate(lengths)])


def test_average_length_is_the_sum_of_the_success_of_one_to_five_in_a_row():
    some = score(5, 0, 3, 3)
    assert some.success == {1: 0.75, 2: 0.75, 3: 0.75, 4: 0.25, 5: 0.25}
    assert some.average_length == pytest.approx(sum(some.success.values())) == 2.75


def test_a_task_counts_as_tried_only_when_the_chain_reached_it():
    assert score(5, 0, 3).per_task == {"a": (2, 3), "b": (2, 2), "c": (2, 2), "d": (1, 2), "e": (1, 1)}


def test_the_mapping_has_what_the_benchmark_reports():
    mapping = score(5, 2).to_mapping(seed=7)
    assert {"average_length", "interval_95", "success", "chains", "seed", "per_task"} <= set(mapping)
    assert (mapping["chains"], mapping["seed"], mapping["success"]["3"]) == (2, 7, 0.5)
    assert mapping["per_task"]["c"]["success"] == 0.5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_the_interval_of_the_average_length_contains_it_and_stays_in_range(lengths: list[int]):
    low, high = length_interval(lengths, 5)
    assert 0 <= low <= np.mean(lengths) <= high <= 5
    assert low < high


def test_the_interval_narrows_with_chains_and_agrees_with_the_bootstrap():
    rng = np.random.default_rng(0)
    many = rng.choice(6, size=400, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
    low, high = length_interval(list(many), 5)
    few_low, few_high = length_interval(list(many[:40]), 5)
    assert high - low < 0.5 * (few_high - few_low)
    means = rng.choice(many, size=(4000, len(many))).mean(axis=1)
    np.testing.assert_allclose((low, high), np.quantile(means, (0.025, 0.975)), atol=0.03)


def test_forty_perfect_chains_are_not_called_certain():
    low, high = length_interval([5] * 40, 5)
    assert 4.5 < low < 4.95
    assert high == 5


def test_no_chain_says_nothing():
    assert length_interval([], 5) == (0.0, 5.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)
