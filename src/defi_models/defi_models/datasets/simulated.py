"""Demonstrations by the simulator's scripted experts, collected by several processes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from defi_models.datasets.episodes import Episode, save_episode
from defi_models.files import write_text
from defi_sim.demonstrations import Demonstration, demonstrate
from defi_sim.play import play
from defi_sim.tasks import TASKS
from defi_sim.world import World


@dataclass(frozen=True)
class Job:
    """One demonstration to make.

    Attributes:
        task: Name of the task.
        seed: Of scene, expert and noise.
        path: Where it goes.
        rate_hz: Samples a second.
        noise_m: Size of the disturbances the expert recovers from [m].
    """

    task: str
    seed: int
    path: Path
    rate_hz: int
    noise_m: float


def collect(
    out: Path,
    tasks: Sequence[str],
    episodes: int,
    *,
    seed: int,
    jobs: int,
    rate_hz: int,
    noise_m: float,
    progress: Callable[[int, int, int], None],
) -> tuple[int, int]:
    """Makes `episodes` demonstrations, tasks in turn; those that exist are kept, failures are not written.

    Args:
        out: Folder of the episodes.
        tasks: Names of tasks.
        episodes: How many to try.
        seed: Of the first; each has its own.
        jobs: Processes.
        rate_hz: Samples a second.
        noise_m: Size of the disturbances [m].
        progress: Told (done, failed, of how many).

    Returns:
        How many succeeded and how many failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = [
        Job(tasks[i % len(tasks)], seed + i, out / f"episode_{seed + i:06d}.npz", rate_hz, noise_m)
        for i in range(episodes)
    ]
    todo = [job for job in wanted if not job.path.exists()]
    done, failed = len(wanted) - len(todo), 0
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for success in pool.imap_unordered(_make, todo, chunksize=4):
            done, failed = done + success, failed + (not success)
            progress(done, failed, episodes)
    return done, failed


@dataclass(frozen=True)
class Play:
    """Demonstrations in a row, each from where the last one ended.

    Attributes:
        first_task: Name of the task the scene is prepared for.
        seed: Of scenes, tasks, experts and noise.
        segments: How many tasks.
        out: Folder of the episodes.
        rate_hz: Samples a second.
        noise_m: Size of the disturbances [m].
    """

    first_task: str
    seed: int
    segments: int
    out: Path
    rate_hz: int
    noise_m: float

    @property
    def record(self) -> Path:
        """What came of it; there once the play is over."""
        return self.out / f"play_{self.seed:06d}.json"

    def episode(self, index: int) -> Path:
        """Where a segment goes."""
        return self.out / f"episode_{self.seed:06d}_{index:02d}.npz"


def collect_plays(
    out: Path,
    first_tasks: Sequence[str],
    plays: int,
    segments: int,
    *,
    seed: int,
    jobs: int,
    rate_hz: int,
    noise_m: float,
    progress: Callable[[int, int, int], None],
) -> tuple[int, int]:
    """Makes `plays` times `segments` demonstrations; finished plays are kept, failed segments are not written.

    Args:
        out: Folder of the episodes.
        first_tasks: Names of the tasks plays begin with, in turn.
        plays: How many rows of tasks.
        segments: Tasks in a row.
        seed: Of the first play; each has its own.
        jobs: Processes.
        rate_hz: Samples a second.
        noise_m: Size of the disturbances [m].
        progress: Told (done, failed, of how many) demonstrations.

    Returns:
        How many demonstrations succeeded and how many failed, those of earlier runs included.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = [Play(first_tasks[i % len(first_tasks)], seed + i, segments, out, rate_hz, noise_m) for i in range(plays)]
    todo = [one for one in wanted if not one.record.exists()]
    outcomes = [success for one in wanted if one.record.exists() for success in _recorded(one)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for fresh in pool.imap_unordered(_make_play, todo):
            outcomes += fresh
            progress(sum(outcomes), len(outcomes) - sum(outcomes), plays * segments)
    return sum(outcomes), len(outcomes) - sum(outcomes)


def _recorded(made: Play) -> list[bool]:
    return [bool(segment["success"]) for segment in json.loads(made.record.read_text())["segments"]]


@cache
def _world() -> World:
    """One a worker process: opening one takes longer than a demonstration."""
    return World()


def _make(job: Job) -> bool:
    world = _world()
    world.reset(job.seed, task=job.task)
    rng = np.random.default_rng(job.seed)
    demo = demonstrate(world, TASKS[job.task], rng, rate_hz=job.rate_hz, noise_m=job.noise_m)
    if demo.success:
        save_episode(episode_of(demo), job.path)
    return bool(demo.success)


def _make_play(job: Play) -> list[bool]:
    segments = []
    for segment in play(_world(), job.seed, job.segments, job.first_task, rate_hz=job.rate_hz, noise_m=job.noise_m):
        if segment.demonstration.success:
            save_episode(episode_of(segment.demonstration), job.episode(segment.index))
        segments.append(
            {"task": segment.task, "after_reset": segment.first, "success": bool(segment.demonstration.success)}
        )
    write_text(job.record, json.dumps({"seed": job.seed, "segments": segments}))
    return _recorded(job)


def episode_of(demo: Demonstration) -> Episode:
    """A demonstration as it is stored."""
    return Episode(
        task=demo.task,
        instructions=TASKS[demo.task].instructions,
        success=demo.success,
        step_ns=demo.step_ns,
        images=demo.images,
        joint_positions=demo.joint_positions,
        ee_pose=demo.ee_pose,
        gripper=demo.gripper,
        target_pose=demo.target_pose,
        target_gripper=demo.target_gripper,
    )
