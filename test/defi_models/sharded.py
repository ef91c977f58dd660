"""Work for processes among which FSDP spreads a model; a module of its own, because spawned processes import it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from tiny import WORDS, tiny_config, train_line

from defi_models.datasets.packing import open_frames
from defi_models.training import loop, parallel
from defi_models.training import stages as all_stages
from defi_models.training.presets import STAGES, Preset, Schedule
from defi_models.training.stages import STAGE_FUNCTIONS, Run

TINY = Preset(
    name="tiny",
    model=lambda words: replace(
        tiny_config(),
        text=replace(tiny_config().text, words=words or WORDS),
        gidm=replace(tiny_config().gidm, codes=32),  # more than a batch can use: some are dead
        decoder=replace(tiny_config().decoder, dropout=0.0, residual_dropout=0.0),
    ),
    schedules={stage: Schedule(steps=3, batch=4, learning_rate=1e-3) for stage in STAGES},
    windows=8,
)


def spread_models() -> None:
    """Makes accelerate spread models also over CPUs, where it would not by itself: it is told that they are others."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)

    def engine(precision: parallel.Precision = "auto", *, unused: bool = False) -> Accelerator:
        del precision, unused
        made = Accelerator(cpu=True)
        AcceleratorState._shared_state["fsdp_plugin"] = plugin
        for shared in (PartialState._shared_state, AcceleratorState._shared_state):
            shared["distributed_type"] = DistributedType.FSDP
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        return made

    parallel.engine = engine


def work_together(line: Path, spread: Path, run: Path, data: Path, stages: Sequence[str]) -> None:
    """Trains `train_line` and stage gidm with a copy of the model in each process, then others spread over processes.

    `train_line` comes again, is killed at its 25th step and started again; stages of a run follow.
    """
    train_line(line)
    train_stages(run, data, ["gidm"])
    spread_models()
    loop.SAVE_EVERY_S = 0.0
    train_line(spread, stop_at=25)
    train_line(spread)
    train_stages(run, data, stages)


def train_stages(out: Path, data: Path, stages: Sequence[str], accumulate: int = 1) -> None:
    """Trains stages of a tiny model, whose dead codes are moved after the second of three steps."""
    torch.set_num_threads(1)
    frames = open_frames(data, ("static", "wrist"), 32)
    schedules = {stage: replace(one, accumulate=accumulate) for stage, one in TINY.schedules.items()}
    with mock.patch.object(all_stages, "RESTART_EVERY_STEPS", 2):
        for stage in stages:
            STAGE_FUNCTIONS[stage](
                Run(replace(TINY, schedules=schedules), frames, out, 0, "franka_panda", lambda _: None)
            )
