"""How long one step of the policy stage takes, on random features: wall time with its spread, and CPU time.

python bench/training_speed.py --preset nano --steps 20
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from defi_models.models.defi import InverseHalf, InverseInputs
from defi_models.training.loop import fit
from defi_models.training.presets import preset
from defi_models.training.step import Step

WINDOWS = 96
WARM_UP = 2  # steps


def main() -> None:
    """Trains a few steps and prints their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    chosen = preset(args.preset)
    config = chosen.model(("drawer", "open", "the"))
    model = InverseHalf(config, config.gfdm.feature_width)
    features = torch.randn(WINDOWS, *config.feature_shape).half()
    tokens = model.text.tokens(["open the drawer"] * WINDOWS)
    actions = torch.randn(WINDOWS, config.chunk_steps, config.action_width)
    proprioception = torch.randn(WINDOWS, config.proprioception_width)
    begun: list[tuple[float, float]] = []

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        begun.append((time.perf_counter(), time.process_time()))
        rows = np.sort(step.rng.choice(WINDOWS, size=step.batch))[step.own]
        inputs = InverseInputs(features[rows].float(), tokens[rows], proprioception[rows])
        noise = step.normal(chosen.noise_draws, *actions.shape[1:])
        return model.loss(inputs, actions[rows], step.uniform(chosen.noise_draws), noise), {}

    schedule = replace(chosen.schedules["policy"], steps=args.steps + WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, loss, schedule, Path(folder) / "run", seed=0, precision=args.precision)
    wall, cpu = np.diff(np.array(begun), axis=0)[WARM_UP - 1 :].T
    low, middle, high = np.quantile(wall, [0.1, 0.5, 0.9])
    figures = {"median_s": middle, "p10_s": low, "p90_s": high, "cpu_median_s": np.median(cpu)}
    about = {
        "preset": args.preset,
        "threads": args.threads,
        "precision": args.precision,
        "batch": schedule.batch,
        "noise_draws": chosen.noise_draws,
        "steps": len(wall),
    }
    print(json.dumps(about | {name: round(float(value), 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
