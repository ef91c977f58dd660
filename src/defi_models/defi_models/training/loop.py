"""The one training loop: optimiser, schedule, averaged weights, resuming and progress; it knows no stage.

All randomness of a step comes from the seed, the step and the sample, so a run that was killed and resumed equals one
that was not, and many processes compute what one does (dropout aside, which differs by process).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from defi_models.training import parallel
from defi_models.training.presets import Schedule
from defi_models.training.state import State, TrainingError
from defi_models.training.step import Step, seed_of, share
from defi_models.training.watch import Watch, mean_figures

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Step", "TrainingError", "fit", "learning_rate"]
SAVE_EVERY_S = 120.0
PICTURES = 10  # times a stage draws its pictures
WARMUP_FRACTION, FINAL_FRACTION = 0.03, 0.1

LossFunction = Callable[[Step], tuple[Tensor, Mapping[str, float]]]


class Objective(nn.Module):
    """What is trained, with the loss as its forward pass: that is where distributed training hooks in.

    Args:
        module: What is trained.
        loss: The loss and figures of one pass; calls `module`.
    """

    def __init__(self, module: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, step: Step) -> tuple[Tensor, Mapping[str, float]]:
        """The loss and the figures of one pass."""
        return self.loss(step)


def fit(
    module: nn.Module,
    loss: LossFunction,
    schedule: Schedule,
    out: Path,
    *,
    seed: int,
    watch: Watch | None = None,
    precision: parallel.Precision = "auto",
    unused: bool = False,
    whose: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Trains `module` in place and leaves the averaged weights in it.

    Args:
        module: What is trained (parameters that need no gradient stay).
        loss: The loss and figures of one pass, means over its samples.
        schedule: How long and how fast.
        out: Where the state for resuming lies, `<out>.state`, until what was trained is in its place and it is `forget`ed.
        seed: Of all randomness.
        watch: Shows how it goes.
        precision: Of the passes; weights and their average stay float32.
        unused: Whether some parameters take no part in the loss.
        whose: What tells the run from others, beside its seed and batch; a state on disk must have the same.

    Returns:
        The figures averaged over the last tenth of the steps.

    Raises:
        TrainingError: the loss is not finite, the batch too small to share, or the state on disk another run's.
    """
    check_shares(schedule)
    watch = watch or Watch()
    engine = parallel.engine(precision, unused=unused)
    objective, optimizer = parallel.prepare(engine, Objective(module, loss), adamw(module, schedule))
    own = {"seed": seed, "batch": schedule.batch, **(whose or {})}
    state = State(module, optimizer, engine.scaler, own, schedule.steps)
    first, figures = state.resume(out, watch.tell)
    history = deque(figures, maxlen=max(1, schedule.steps // 10))
    saved = time.monotonic()
    module.train()
    watch.begin(first, schedule.steps)
    for index in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, index)
        history.append(_gradients(engine, objective, schedule, seed, index))
        engine.clip_grad_norm_(state.parameters.values(), schedule.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not engine.optimizer_step_was_skipped:
            state.follow(schedule.ema, index)
        watch.step(index + 1, history[-1])
        if not state.sharded:
            _draw(module, watch, index, schedule.steps)
        if index + 1 == schedule.steps or _due(state, saved):
            state.save(out, index + 1, history)
            saved = time.monotonic()
    watch.end()
    state.settle()
    module.eval()
    return mean_figures(history)


def check_shares(schedule: Schedule) -> None:
    """Refuses a batch with fewer samples than passes.

    Raises:
        TrainingError: so.
    """
    passes = parallel.size() * schedule.accumulate
    if schedule.batch < passes:
        raise TrainingError(
            f"batch: got {schedule.batch} samples for {parallel.size()} processes x {schedule.accumulate} accumulated "
            f"passes, expected at least {passes}; start fewer processes or give a larger batch"
        )


def adamw(module: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over what is trained; vectors (biases, norms) are not decayed."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)


def _gradients(
    engine: Accelerator, objective: nn.Module, schedule: Schedule, seed: int, index: int
) -> dict[str, float]:
    """Leaves the gradients of one step in the module; the mean loss and figures over all processes and passes.

    Raises:
        TrainingError: the loss is not finite.
    """
    processes, passes = parallel.size(), parallel.size() * schedule.accumulate
    sums = torch.zeros(0)
    total: Callable[[], Tensor] = sums.clone
    for part in range(schedule.accumulate):
        own = share(schedule.batch, parallel.rank() * schedule.accumulate + part, passes)
        step = Step(seed, index, schedule.batch, own, engine.device)
        torch.manual_seed(seed_of([seed, index, parallel.rank() * schedule.accumulate + part, passes]))  # dropout
        last = part + 1 == schedule.accumulate
        with contextlib.nullcontext() if last else engine.no_sync(objective):
            value, figures = objective(step)
            weight = step.count / schedule.batch  # of the mean over the whole batch
            row = torch.tensor([float(value.detach()), *figures.values()]) * weight
            sums = row if part == 0 else sums + row
            if last:  # the processes exchange it while they go back through the network
                total = parallel.begin_sum(sums.to(engine.device))
            engine.backward(value * (weight * processes))  # gradients are averaged over processes, not summed
    mean = dict(zip(["loss", *figures], total().tolist(), strict=True))
    if not math.isfinite(mean["loss"]):
        raise TrainingError(
            f"step {index}: the loss is {mean['loss']}; look for images that are not finite, or lower the learning "
            f"rate ({schedule.learning_rate})"
        )
    return mean


def _due(state: State, saved: float) -> bool:
    """Whether this process has to save: the first one decides, and all of them where the state is spread over them."""
    due = parallel.rank() == 0 and time.monotonic() - saved > SAVE_EVERY_S
    if not state.sharded:
        return due
    flag = torch.tensor(float(due), device=parallel.device())
    parallel.same_everywhere(flag)
    return bool(flag)


def _draw(module: nn.Module, watch: Watch, index: int, steps: int) -> None:
    """Has the pictures drawn `PICTURES` times a stage."""
    if (index + 1) * PICTURES // steps == index * PICTURES // steps:
        return
    module.eval()
    with torch.no_grad():
        watch.draw(index + 1)
    module.train()


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then a cosine to `FINAL_FRACTION` of the peak."""
    warmup = max(1, int(schedule.steps * WARMUP_FRACTION))
    if step < warmup:
        return schedule.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.learning_rate * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * done)))
