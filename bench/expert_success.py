"""How often the scripted experts succeed, and how long a demonstration takes: `python bench/expert_success.py --episodes 40`.

With `--plays 200` each does six tasks in a row without a reset, as `defi data sim --in-a-row 6` collects them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import numpy as np

from defi_sim.demonstrations import demonstrate, execute
from defi_sim.experts import plan
from defi_sim.play import FIRST_TASKS, play
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


def measure_in_a_row(world: World, plays: int, seed: int, noise_m: float) -> float:
    """Prints the success of each task from starts that other tasks left; returns the worst share."""
    tried, done, failed = Counter[str](), Counter[str](), []
    began = time.process_time()
    for number in range(plays):
        for segment in play(world, seed + number, 6, FIRST_TASKS[number % len(FIRST_TASKS)], noise_m=noise_m):
            if segment.first:
                continue
            tried[segment.task] += 1
            done[segment.task] += segment.demonstration.success
            if not segment.demonstration.success:
                failed.append((segment.task, seed + number, segment.index))
    for name in TASKS:
        sys.stdout.write(f"{name:<28}{done[name]:>6}/{tried[name]}\n")
    cost_s = (time.process_time() - began) / plays / 6
    sys.stdout.write(
        f"all{done.total():>31}/{tried.total()}, {cost_s:.3f} s of a core for each; failed: {failed or ''}\n"
    )
    return min(done[name] / tried[name] for name in tried)


def main() -> int:
    """Prints the table; exit code 1 when a task stays below 95 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--noise-m", type=float, default=0.01)
    parser.add_argument("--render", action="store_true", help="record images as training does")
    parser.add_argument("--plays", type=int, default=0, help="measure rows of six tasks instead, this many")
    parser.add_argument("--seed", type=int, default=0, help="of the first play")
    arguments = parser.parse_args()
    if arguments.plays:
        with World(cameras=()) as world:
            worst = measure_in_a_row(world, arguments.plays, arguments.seed, arguments.noise_m)
        return 0 if worst >= 0.95 else 1
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
