"""Demonstrations of Meta-World's tasks by its scripted experts, as episodes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defi_models.datasets.episodes import Episode, save_episode
from defi_sim.metaworld import CAMERAS, SENTENCES, STEP_NS, TASKS_A_SEED, MetaWorldTable

HOLD_NS = 200_000_000  # recorded after success: the arm stays


@dataclass(frozen=True)
class Batch:
    """Demonstrations of one task to make in one process.

    Attributes:
        task: Name of the task.
        seed: Of the arrangements.
        arrangements: Which of them, with where each goes.
        noise: Size of the disturbance the expert recovers from, 1 being the largest action.
        step_ns: Time between samples [ns].
    """

    task: str
    seed: int
    arrangements: Sequence[tuple[int, Path]]
    noise: float
    step_ns: int


def collect(
    out: Path,
    tasks: Sequence[str],
    episodes: int,
    *,
    seed: int,
    jobs: int,
    noise: float,
    step_ns: int = STEP_NS,
    progress: Callable[[int, int, int], None],
) -> tuple[int, int]:
    """Makes `episodes` demonstrations of each task; those that exist are kept, failures are not written.

    Args:
        out: Folder of the episodes.
        tasks: Names of tasks.
        episodes: How many of each to try; every 50 get another seed.
        seed: Of the first 50 arrangements.
        jobs: Processes.
        noise: Size of the disturbance, 1 being the largest action.
        step_ns: Time between samples [ns].
        progress: Told (done, failed, of how many).

    Returns:
        How many succeeded and how many failed.

    Raises:
        ConfigError: Meta-World is not installed, or a task is unknown.
    """
    out.mkdir(parents=True, exist_ok=True)
    batches, done = [], 0
    for task in tasks:
        for first in range(0, episodes, TASKS_A_SEED):
            own_seed, count = seed + first // TASKS_A_SEED, min(TASKS_A_SEED, episodes - first)
            paths = [(k, out / f"episode_{task}_{own_seed:04d}_{k:02d}.npz") for k in range(count)]
            todo = [(k, path) for k, path in paths if not path.exists()]
            done += count - len(todo)
            # Small batches keep all processes busy and progress visible; opening a table takes some seconds.
            batches += [Batch(task, own_seed, todo[k : k + 25], noise, step_ns) for k in range(0, len(todo), 25)]
    failed = 0
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for successes in pool.imap_unordered(_make, batches):
            done, failed = done + sum(successes), failed + len(successes) - sum(successes)
            progress(done, failed, len(tasks) * episodes)
    return done, failed


def _make(batch: Batch) -> list[bool]:
    table, successes = MetaWorldTable(batch.task, batch.seed, step_ns=batch.step_ns), []
    for arrangement, path in batch.arrangements:
        episode = record(table, arrangement, np.random.default_rng([batch.seed, arrangement]), batch.noise)
        if episode.success:
            save_episode(episode, path)
        successes.append(episode.success)
    table.close()
    return successes


def record(table: MetaWorldTable, arrangement: int, rng: np.random.Generator, noise: float) -> Episode:
    """One demonstration, until shortly after success or to Meta-World's limit of steps."""
    table.reset(arrangement)
    images: dict[str, list] = {name: [] for name in CAMERAS}
    rows = []
    hold = HOLD_NS // table.step_ns
    while hold > 0 and (table.succeeded or not table.over):
        for name, image in table.images().items():
            images[name].append(image)
        arm = table.proprioception(0)
        rows.append((arm.positions, arm.ee_pose, arm.gripper, *table.demonstrate(rng, noise)))
        hold -= table.succeeded
    joints, poses, openings, targets, wanted = (np.array(column) for column in zip(*rows, strict=True))
    return Episode(
        task=table.name,
        instructions=SENTENCES.get(table.name, (table.name.removesuffix("-v3").replace("-", " "),)),
        success=table.succeeded,
        step_ns=table.step_ns,
        images={name: np.stack(frames) for name, frames in images.items()},
        joint_positions=joints,
        ee_pose=poses,
        gripper=openings,
        target_pose=targets,
        target_gripper=wanted,
    )
