"""What the simulator costs: a physics step, a rendered frame, and real time with two cameras as a share of one core.

    python bench/sim_speed.py

Exits with 1 when physics in real time and two cameras at 128x128 and 30 Hz take more than 60 % of one core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

from defi_sim.demonstrations import Follower
from defi_sim.experts import plan
from defi_sim.world import World

CAMERA_HZ = 30
TICK_S = 0.01  # set points of the arm are renewed at 100 Hz here; the arm bridge's own work is not the simulator's
MOST_PERCENT = 60.0


def median_step_ms(world: World) -> float:
    """Median time of one physics step while the arm opens the drawer [ms]."""
    times = []
    for _ in range(400):
        began = time.perf_counter()
        world.step(5)
        times.append((time.perf_counter() - began) / 5 * 1e3)
    return statistics.median(times)


def median_frame_ms(world: World, camera: str) -> float:
    """Median time of capturing and drawing one frame [ms]."""
    times = []
    for _ in range(60):
        began = time.perf_counter()
        world.render(camera)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[10:])


def core_percent(world: World, seconds: float) -> float:
    """CPU time of simulated seconds with every camera at `CAMERA_HZ`, as a percentage of one core."""
    follower = Follower(world)
    trajectory = plan("open_drawer", world.scene(), world.ee_pose(), world.gripper_opening(), np.random.default_rng(0))
    next_frame_s, following_s = 0.0, 0.0
    began = time.process_time()
    for tick in range(round(seconds / TICK_S)):
        if tick * TICK_S >= next_frame_s:
            world.look()
            next_frame_s += 1.0 / CAMERA_HZ
        aside = time.process_time()
        follower.follow(*trajectory.sample(tick * TICK_S))
        following_s += time.process_time() - aside
        world.step(round(TICK_S / world.TIMESTEP_S))
    return 100.0 * (time.process_time() - began - following_s) / seconds


def main() -> int:
    """Prints the figures; exit code 1 when they are too high."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="simulated seconds of the real-time measurement")
    arguments = parser.parse_args()
    with World(image_size=(128, 128)) as world:
        world.reset(0, task="open_drawer")
        print(f"physics step (2 ms of the world)        {median_step_ms(world):8.3f} ms")
        for camera in world.cameras:
            print(f"frame 128x128, {camera:<8}                 {median_frame_ms(world, camera):8.2f} ms")
        world.reset(0, task="open_drawer")
        percent = core_percent(world, arguments.seconds)
        print(
            f"real time with 2 cameras at {CAMERA_HZ} Hz        {percent:8.1f} % of one core (at most {MOST_PERCENT:.0f})"
        )
    return 0 if percent <= MOST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
