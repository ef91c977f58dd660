"""Demonstrations by the simulator's scripted experts, collected by several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defi_models.datasets.episodes import Episode, save_episode
from defi_sim.demonstrations import demonstrate
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
    with multiprocessing.get_context("spawn").Pool(jobs, _open_world) as pool:
        for success in pool.imap_unordered(_make, todo, chunksize=4):
            done, failed = done + success, failed + (not success)
            progress(done, failed, episodes)
    return done, failed


_world: World | None = None  # one a worker process: opening one takes longer than a demonstration


def _open_world() -> None:
    global _world  # noqa: PLW0603  set once, by the pool's initializer
    _world = World()


def _make(job: Job) -> bool:
    assert _world is not None, "the pool's initializer opens it"
    task = TASKS[job.task]
    _world.reset(job.seed, task=job.task)
    rng = np.random.default_rng(job.seed)
    demo = demonstrate(_world, task, rng, rate_hz=job.rate_hz, noise_m=job.noise_m)
    if demo.success:
        save_episode(
            Episode(
                task=task.name,
                instructions=task.instructions,
                success=True,
                step_ns=demo.step_ns,
                images=demo.images,
                joint_positions=demo.joint_positions,
                ee_pose=demo.ee_pose,
                gripper=demo.gripper,
                target_pose=demo.target_pose,
                target_gripper=demo.target_gripper,
            ),
            job.path,
        )
    return bool(demo.success)
