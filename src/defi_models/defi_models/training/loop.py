"""The one training loop: optimiser, schedule, averaged weights, resuming and progress; it knows no stage.

All randomness of step n comes from the seed, n and the number of the process, so a run that was killed and resumed equals one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from defi_models.contract import DefiError
from defi_models.training import parallel
from defi_models.training.presets import Schedule

logger = logging.getLogger(__name__)
SAVE_EVERY_S = 120.0
REPORT_EVERY_STEPS = 50
WARMUP_FRACTION, FINAL_FRACTION = 0.03, 0.1


class TrainingError(DefiError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Step:
    """The randomness of one step.

    Attributes:
        index: Number of the step, from 0.
        rng: For choosing data.
        generator: For noise; both depend on the seed, the index and the process only.
    """

    index: int
    rng: np.random.Generator
    generator: torch.Generator


LossFunction = Callable[[Step], tuple[Tensor, Mapping[str, float]]]


def fit(
    module: nn.Module, loss: LossFunction, schedule: Schedule, out: Path, *, seed: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Trains `module` in place and leaves the averaged weights in it.

    Args:
        module: What is trained (parameters that need no gradient stay).
        loss: The loss and figures of one step.
        schedule: How long and how fast.
        out: Where the state for resuming lies, `<out>.state` and `<out>.json`; removed at the end.
        seed: Of all randomness.
        progress: Told one line at a time.

    Returns:
        The figures averaged over the last tenth of the steps.

    Raises:
        TrainingError: the loss is not finite.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    average = {name: p.detach().clone() for name, p in parameters.items()}
    decayed = [p for p in parameters.values() if p.ndim >= 2]
    others = [p for p in parameters.values() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=schedule.learning_rate,
        betas=(0.9, 0.95),
    )
    first = _resume(out, parameters, average, optimizer)
    history: list[Mapping[str, float]] = []
    started = saved = time.monotonic()
    module.train()
    for index in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, index)
        torch.manual_seed(seed * 1_000_003 + index * parallel.size() + parallel.rank())  # dropout
        value, figures = loss(_randomness(seed, index))
        if not math.isfinite(value.item()):
            raise TrainingError(
                f"step {index}: the loss is {value.item()}; lower the learning rate ({schedule.learning_rate})"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        parallel.average_gradients(parameters.values())
        torch.nn.utils.clip_grad_norm_(parameters.values(), schedule.gradient_norm)
        optimizer.step()
        decay = min(schedule.ema, (1 + index) / (10 + index))
        with torch.no_grad():
            for name, p in parameters.items():
                average[name].lerp_(p, 1 - decay)
        history.append({"loss": value.item(), **figures})
        if (index + 1) % REPORT_EVERY_STEPS == 0 or index + 1 == schedule.steps:
            progress(_line(history, index + 1, schedule.steps, (time.monotonic() - started) / (index + 1 - first)))
        if parallel.rank() == 0 and time.monotonic() - saved > SAVE_EVERY_S:
            _save(out, parameters, average, optimizer, index + 1)
            saved = time.monotonic()
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(average[name])
    module.eval()
    parallel.barrier()
    if parallel.rank() == 0:
        for suffix in (".state", ".json"):
            out.with_suffix(suffix).unlink(missing_ok=True)
    return _mean(history[-max(1, schedule.steps // 10) :])


def _randomness(seed: int, index: int) -> Step:
    number = parallel.rank()
    key = [seed, index, number] if number else [seed, index]
    return Step(index, np.random.default_rng(key), torch.Generator().manual_seed(seed * 7919 + index + number * 10**9))


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then a cosine to `FINAL_FRACTION` of the peak."""
    warmup = max(1, int(schedule.steps * WARMUP_FRACTION))
    if step < warmup:
        return schedule.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.learning_rate * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * done)))


def _mean(history: list[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.nanmean([row[key] for row in history])) for key in history[-1]} if history else {}


def _line(history: list[Mapping[str, float]], step: int, steps: int, seconds_per_step: float) -> str:
    figures = "  ".join(f"{k} {v:.4f}" for k, v in _mean(history[-REPORT_EVERY_STEPS:]).items())
    left = (steps - step) * seconds_per_step
    return f"step {step}/{steps}  {figures}  {seconds_per_step:.3f} s/step  {left / 60:.1f} min left"


def _save(
    out: Path,
    parameters: Mapping[str, nn.Parameter],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    tensors = {f"weight.{k}": v.detach().contiguous() for k, v in parameters.items()}
    tensors |= {f"average.{k}": v.contiguous() for k, v in average.items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"adam.{i}.{k}": v for i, slots in state.items() for k, v in slots.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    save_file(tensors, str(part), metadata={"step": str(step)})
    os.replace(part, out.with_suffix(".state"))
    out.with_suffix(".json").write_text(json.dumps({"step": step}))


def _resume(
    out: Path, parameters: Mapping[str, nn.Parameter], average: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> int:
    path = out.with_suffix(".state")
    if not path.is_file():
        return 0
    tensors = load_file(str(path))
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(tensors[f"weight.{name}"])
            average[name].copy_(tensors[f"average.{name}"])
    state = optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, number, slot = key.split(".")
            slots.setdefault(int(number), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
    step = int(json.loads(out.with_suffix(".json").read_text())["step"])
    logger.info("resuming %s at step %d", out.name, step)
    return step
