"""How often the scripted experts succeed, and how long a demonstration takes: `python bench/expert_success.py --episodes 40`."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from defi_sim.demonstrations import demonstrate, execute
from defi_sim.experts import plan
from defi_sim.tasks import TASKS, task_named
from defi_sim.world import World


def measure(
    world: World, name: str, episodes: int, noise_m: float, render: bool
) -> tuple[int, float, float, list[int]]:
    """Successes, mean wall time [s], mean length [s] and failed seeds of one task."""
    task, failed, lengths = task_named(name), [], []
    began = time.perf_counter()
    for seed in range(episodes):
        world.reset(seed, task=name)
        rng = np.random.default_rng([seed, 1])
        if render:
            demonstration = demonstrate(world, task, rng, noise_m=noise_m)
            success, length = demonstration.success, demonstration.times_ns[-1] / 1e9
        else:
            start = world.scene()
            trajectory = plan(task, start, world.ee_pose(), world.gripper_opening(), rng)
            execute(world, trajectory, rng, noise_m)
            success, length = task.success(start, world.scene()), trajectory.duration_s
        lengths.append(length)
        if not success:
            failed.append(seed)
    return episodes - len(failed), (time.perf_counter() - began) / episodes, float(np.mean(lengths)), failed


def main() -> int:
    """Prints the table; exit code 1 when a task stays below 95 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--noise-m", type=float, default=0.01)
    parser.add_argument("--render", action="store_true", help="record images as training does")
    arguments = parser.parse_args()
    worst = 1.0
    out = sys.stdout.write
    out(f"{'task':<28}{'success':>10}{'plan [s]':>10}{'wall [s]':>10}  failed seeds\n")
    with World() as world:
        for name in arguments.tasks:
            done, wall_s, length_s, failed = measure(
                world, name, arguments.episodes, arguments.noise_m, arguments.render
            )
            worst = min(worst, done / arguments.episodes)
            out(f"{name:<28}{done:>6}/{arguments.episodes:<3}{length_s:>10.2f}{wall_s:>10.3f}  {failed or ''}\n")
            sys.stdout.flush()
    return 0 if worst >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
