"""How long one step of the policy stage takes, on random features: median and spread over the steps.

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
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    chosen = preset(args.preset)
    config = chosen.model(("drawer", "open", "the"))
    model = InverseHalf(config, config.gfdm.feature_width)
    features = torch.randn(WINDOWS, *config.feature_shape).half()
    tokens = model.text.tokens(["open the drawer"] * WINDOWS)
    actions = torch.randn(WINDOWS, config.chunk_steps, config.action_width)
    proprioception = torch.randn(WINDOWS, config.proprioception_width)
    begun: list[float] = []

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        begun.append(time.perf_counter())
        rows = np.sort(step.rng.choice(WINDOWS, size=step.batch))[step.own]
        inputs = InverseInputs(features[rows].float(), tokens[rows], proprioception[rows])
        noise = step.normal(*actions.shape[1:])
        return model.loss(inputs, actions[rows], step.uniform(), noise), {}

    schedule = replace(chosen.schedules["policy"], steps=args.steps + WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, loss, schedule, Path(folder) / "run", seed=0)
    seconds = np.diff(begun)[WARM_UP - 1 :]
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    print(json.dumps({"preset": args.preset, "threads": args.threads, "batch": schedule.batch, "steps": len(seconds),
                      "median_s": round(middle, 4), "p10_s": round(low, 4), "p90_s": round(high, 4)}))  # fmt: skip


if __name__ == "__main__":
    main()
