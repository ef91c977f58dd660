"""What a run needs to go on after a kill: weights, their average, the optimiser's, the scaler's and the last figures.

<out>.state   one safetensors file, written beside its place and moved there whole:
              weight.<name>  buffer.<name>  average.<name>  adam.<number>.<slot>, and in its header step and figures
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import Optimizer

from defi_models.contract import DefiError
from defi_models.files import whole
from defi_models.training import parallel

logger = logging.getLogger(__name__)
Figures = Mapping[str, float]


class TrainingError(DefiError):
    """Training cannot go on."""


class State:
    """The moving parts of one training run, saved and read back as one.

    Args:
        module: What is trained; parameters that need no gradient stay.
        optimizer: Over its parameters.
        scaler: Of half-precision gradients; None where there is none.
        whose: What a run must share to go on from it, as in its seed.
        steps: Of the whole run.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        scaler: Any = None,
        whose: Mapping[str, int | str] | None = None,
        steps: int = 0,
    ) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.buffers = dict(module.named_buffers())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer, self.scaler, self.whose, self.steps = optimizer, scaler, whose or {}, steps

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of it only (FSDP)."""
        return any(isinstance(p, DTensor) for p in self.parameters.values())

    @torch.no_grad()
    def follow(self, ema: float, index: int) -> None:
        """Moves the average towards the weights; faster at the start."""
        decay = min(ema, (1 + index) / (10 + index))
        for name, p in self.parameters.items():
            self.average[name].lerp_(p, 1 - decay)

    @torch.no_grad()
    def settle(self) -> None:
        """Leaves the averaged weights in the module."""
        for name, p in self.parameters.items():
            p.copy_(self.average[name])

    def save(self, out: Path, step: int, history: Sequence[Figures]) -> None:
        """Writes all of it; every process calls this, the first one writes."""
        tensors = {f"weight.{k}": parallel.whole(v) for k, v in self.parameters.items()}
        tensors |= {f"buffer.{k}": parallel.whole(v) for k, v in self.buffers.items()}
        tensors |= {f"average.{k}": parallel.whole(v) for k, v in self.average.items()}
        slots = self.optimizer.state_dict()["state"]
        tensors |= {f"adam.{i}.{k}": parallel.whole(v) for i, some in slots.items() for k, v in some.items()}
        header = {"step": str(step), "steps": str(self.steps), "history": json.dumps([dict(row) for row in history])}
        header |= {name: str(value) for name, value in self.whose.items()}
        if self.scaler is not None:
            header["scaler"] = json.dumps(self.scaler.state_dict())
        if parallel.rank() == 0:
            save_whole(tensors, out.with_suffix(".state"), header)

    def resume(self, out: Path, tell: Callable[[str], None]) -> tuple[int, list[Figures]]:
        """Reads back what was saved; the step to go on with, and the last figures. (0, []) where nothing was saved.

        Headers of older versions say less of whose they are, and are not held against what they do not say. Another
        number of steps is told; the learning rate follows it from there.

        Raises:
            TrainingError: the file is damaged or belongs to another model or run.
        """
        header = check_begun(out, self.whose, self.steps)
        if header is None:
            return 0, []
        path = out.with_suffix(".state")
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dictionary
        self._check(tensors, path)
        for kind, targets in (("weight", self.parameters), ("average", self.average), ("buffer", self.buffers)):
            for name, target in targets.items():
                if f"{kind}.{name}" in tensors:
                    parallel.write(target, tensors[f"{kind}.{name}"])
        self._resume_optimizer(tensors)
        if self.scaler is not None and "scaler" in header:
            self.scaler.load_state_dict(json.loads(header["scaler"]))
        step, before = int(header["step"]), int(header.get("steps", self.steps))
        logger.info("resuming %s at step %d", out.name, step)
        if before != self.steps:
            tell(f"goes on at step {step} of a run of {before} steps, with {self.steps} now")
        return step, json.loads(header.get("history", "[]"))

    def _check(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        wanted = {f"weight.{name}": tuple(p.shape) for name, p in self.parameters.items()}
        saved = {name: tuple(t.shape) for name, t in tensors.items() if name.startswith("weight.")}
        if wanted != saved:
            differing = sorted(n for n in wanted.keys() | saved.keys() if wanted.get(n) != saved.get(n))
            first = differing[0]
            raise TrainingError(
                f"{path}: belongs to another model: {len(differing)} weights differ, the first is {first}: got "
                f"{saved.get(first)}, expected {wanted.get(first)}; give its preset and data, or delete it to begin anew"
            )

    def _resume_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        slots: dict[int, dict[str, Tensor]] = {}
        members = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, slot = key.split(".")
                whole_slot = value.shape == members[int(number)].shape and value.ndim > 0
                slots.setdefault(int(number), {})[slot] = _placed(value, members[int(number)]) if whole_slot else value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def check_begun(out: Path, whose: Mapping[str, int | str], steps: int) -> dict[str, str] | None:
    """What the header of a saved state says; None where nothing was saved.

    Args:
        out: Where it lies, `<out>.state`.
        whose: What the run that goes on has in common with the one that saved.
        steps: Of the whole run.

    Raises:
        TrainingError: the file is damaged or belongs to another run, or has more steps.
    """
    path = out.with_suffix(".state")
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); delete it to begin the stage anew") from error
    for name, value in whose.items():
        if header.get(name, str(value)) != str(value):
            hint = " (names, sizes and times of change of its files)" if name == "data" else ""
            raise TrainingError(
                f"{path}: belongs to a run with {name} {header[name]}{hint}, got {value}; give that, or delete it to begin anew"
            )
    if int(header["step"]) > steps:
        raise TrainingError(
            f"{path}: {header['step']} steps are done, got a run of {steps}; give more --steps, or delete it to begin anew"
        )
    return header


def _placed(value: Tensor, like: Tensor) -> Tensor:
    placed = torch.empty_like(like)
    parallel.write(placed, value)
    return placed


def save_whole(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file whole or not at all."""
    with whole(path) as part:
        save_file(dict(tensors), str(part), metadata=dict(header or {}))


def forget(out: Path) -> None:
    """Removes what `State.save` left, and what older versions left beside it; every process calls this, all wait."""
    parallel.barrier()
    if parallel.rank() == 0:
        for suffix in (".state", ".json"):
            out.with_suffix(suffix).unlink(missing_ok=True)
    parallel.barrier()
