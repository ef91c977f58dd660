"""`defi train`: runs one stage or all of them, in one process, in several, or as one of a cluster's."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from defi_models.bar import bar
from defi_models.checkpoint import check_replaceable
from defi_models.config import DefiConfig
from defi_models.contract import ConfigError
from defi_models.datasets.frames import Frames
from defi_models.datasets.inspecting import add_camera, cameras_of, check_share
from defi_models.datasets.mixture import mixed
from defi_models.datasets.packing import open_frames
from defi_models.datasets.reading import DatasetError
from defi_models.files import check_folder
from defi_models.options import check_at_least
from defi_models.training.presets import PRESETS, STAGES, Preset, preset, with_changes

if TYPE_CHECKING:
    from defi_models.training.run import Run

MOST_SEED = 2**63 - 1


class Train:
    """Trains a model in stages."""

    help = "train the autoencoder, the GFDM, the GIDM and the policy"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "stage", choices=[*STAGES, "all"], help="which stage; `all` runs those not yet done in order"
        )
        parser.add_argument("--preset", default="nano", help=f"one of {sorted(PRESETS)}")
        parser.add_argument(
            "--set",
            nargs="+",
            action="extend",
            default=[],
            metavar="NAME=VALUE",
            help="a number of the model that differs from the preset's, as in chunk_steps=12 cameras=static "
            "action_encoding=absolute_pose gfdm.image_size=128; alike for every stage of a run",
        )
        parser.add_argument(
            "--data",
            nargs="+",
            action="extend",
            default=[],
            metavar="FOLDER[=WEIGHT]",
            help="demonstrations; a weight is the share of all samples drawn from it",
        )
        parser.add_argument(
            "--video",
            nargs="+",
            action="extend",
            default=[],
            metavar="FOLDER[=WEIGHT]",
            help="action-free data for the autoencoder, GFDM and GIDM stages: videos, or any dataset without its actions",
        )
        parser.add_argument(
            "--latents",
            nargs="+",
            action="extend",
            default=[],
            metavar="FOLDER[=WEIGHT]",
            help="what `defi data encode` made, in place of pixels; for the GFDM and GIDM stages",
        )
        add_camera(parser)
        parser.add_argument("--out", type=Path, required=True, help="folder of the run; <out>/checkpoint is the policy")
        parser.add_argument("--start", type=Path, default=None, metavar="FOLDER", help="a checkpoint to finetune")
        parser.add_argument("--seed", type=int, default=0, help="of all randomness")
        parser.add_argument("--arm", default="franka_panda", help="the arm of the demonstrations")
        parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
        parser.add_argument("--processes", type=int, default=1, help="processes on this machine that train together")
        parser.add_argument("--steps", type=int, default=0, help="optimiser steps of the stage; 0: the preset's")
        parser.add_argument("--accumulate", type=int, default=0, help="passes a batch is computed in; 0: the preset's")
        parser.add_argument(
            "--precision", default="auto", choices=["auto", "no", "bf16", "fp16"], help="auto: bf16 on CUDA, else none"
        )
        parser.add_argument("--max-damaged", type=float, default=0.05, help="share of unreadable clips that is skipped")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the stages asked for.

        Raises:
            DefiError: the data or the run's folder lacks something.
        """
        chosen = with_changes(preset(args.preset), args.set)
        check_arguments(args, chosen)
        from defi_models.training import parallel  # torch takes seconds, and wrong input is told at once

        if not parallel.is_member():
            open_data(args, chosen)
        undone = [stage for stage in chosen.schedules if not is_done(args.out, stage)]
        if args.stage == "all" and not undone:
            sys.stdout.write(f"{args.out}: every stage is done; name one to train it again\n")
            return 0
        work = partial(_train, args, undone if args.stage == "all" else [args.stage])
        if parallel.is_member():
            work()
        else:
            parallel.launch(args.processes, work)
        return 0


def is_done(out: Path, stage: str) -> bool:
    """Whether a run in `out` has what a stage makes: its weights, and of the policy the checkpoint too."""
    return (out / f"{stage}.safetensors").exists() and (stage != "policy" or (out / "checkpoint").is_dir())


def check_arguments(args: argparse.Namespace, chosen: Preset) -> None:
    """Refuses options that do not go together.

    Raises:
        ConfigError: so.
    """
    if args.stage != "all" and args.stage not in chosen.schedules:
        raise ConfigError(
            f"defi train {args.stage}: got preset {chosen.name!r}, which trains {', '.join(chosen.schedules)}; its "
            f"{args.stage} is published: put its weights into {args.out / args.stage}.safetensors"
        )
    if args.latents and (args.data or args.video or args.stage not in {"gfdm", "gidm"}):
        raise ConfigError(
            f"defi train {args.stage}: got --latents {'beside other data' if args.data or args.video else ''}, expected "
            "it alone, for stage gfdm or gidm"
        )
    if not args.data and not args.video and not args.latents:
        raise ConfigError("defi train: got no data, expected --data FOLDER (demonstrations), --video or --latents")
    if not args.data and args.stage in {"policy", "all"}:
        raise ConfigError(f"defi train {args.stage}: got only --video, expected demonstrations with --data FOLDER")
    check_at_least(1, args, "processes")
    check_at_least(0, args, "accumulate", "threads", "seed")
    check_share("--max-damaged", args.max_damaged)
    if args.steps < 0 or (args.steps and args.stage == "all"):
        raise ConfigError(
            f"--steps: got {args.steps} for {args.stage!r}, expected a number of steps for one stage, or 0 for the preset's"
        )
    if args.seed > MOST_SEED:
        raise ConfigError(f"--seed: got {args.seed}, expected at most {MOST_SEED}")
    if not re.fullmatch(r"[\w.-]+", args.arm):
        raise ConfigError(f"--arm: got {args.arm!r}, expected a name of letters, digits and _, such as franka_panda")
    check_folder("--out", args.out)
    check_replaceable(args.out / "checkpoint")


def open_data(args: argparse.Namespace, chosen: Preset) -> Frames:
    """The data asked for, as the preset's model sees it.

    Raises:
        DatasetError: some is missing, damaged or does not fit the model.
    """
    model = chosen.model(())
    if args.latents:
        return mixed([(_latents(folder, model), weight) for folder, weight in map(weighted, args.latents)])
    renamed = cameras_of(args.camera)
    parts = []
    for texts, video in ((args.data, False), (args.video, True)):
        for text in texts:
            folder, weight = weighted(text)
            frames = open_frames(
                folder,
                model.cameras,
                model.gfdm.image_size,
                step_ns=model.step_ns,
                video=video,
                tolerated=args.max_damaged,
                renamed=renamed,
            )
            parts.append((frames, weight))
    return mixed(parts)


def _latents(folder: Path, model: DefiConfig) -> Frames:
    from defi_models.datasets.latents import open_latents

    frames = open_latents(folder)
    if frames.step_ns != model.step_ns or frames.cameras != model.cameras[: len(frames.cameras)]:
        raise DatasetError(
            f"{folder}: got latents of {list(frames.cameras)} every {frames.step_ns} ns, expected {list(model.cameras)} every "
            f"{model.step_ns} ns; give the --preset and --set of the run that made them, or encode again"
        )
    return frames


def weighted(text: str) -> tuple[Path, float | None]:
    """A folder and its weight, if it has one.

    Raises:
        ConfigError: the weight is no number.
    """
    folder, equals, weight = text.rpartition("=")
    if not equals:
        return Path(text), None
    try:
        return Path(folder), float(weight)
    except ValueError as error:
        raise ConfigError(f"data: got {text!r}, expected FOLDER or FOLDER=WEIGHT with a weight in 0..1") from error


def check_run(run: Run, stages: Sequence[str]) -> None:
    """Finds before the first stage what else a later one would, hours after.

    Raises:
        DefiError: the data do not fit the model or the run's folder, or the demonstrations their actions.
    """
    from defi_models.training.policy_stage import windows_of
    from defi_models.training.stages import check_gidm

    for stage in stages:
        run.check(stage)
        run.check_loop(stage)
    if "gidm" in stages:
        check_gidm(run)
    if "policy" in stages[1:]:
        windows_of(run)


def _train(args: argparse.Namespace, stages: Sequence[str]) -> None:
    import torch

    from defi_models.training import parallel
    from defi_models.training.stages import STAGE_FUNCTIONS, Run
    from defi_models.training.start import Start

    if args.threads:
        torch.set_num_threads(args.threads)
    parallel.join()
    chosen = with_changes(preset(args.preset), args.set)
    asked = {name: getattr(args, name) for name in ("steps", "accumulate") if getattr(args, name)}
    schedules = {name: replace(one, **asked) for name, one in chosen.schedules.items()}
    chosen = replace(chosen, schedules=schedules)
    with parallel.first_alone():
        frames = open_data(args, chosen)
    origin = args.start and Start(args.start)
    check_run(Run(chosen, frames, args.out, args.seed, args.arm, print, None, args.precision, origin), stages)
    for stage in stages:
        start = time.monotonic()

        def progress(line: str, stage: str = stage) -> None:
            if parallel.rank() == 0:
                sys.stdout.write(f"{stage}: {line}\n")
                sys.stdout.flush()

        with bar(stage) if not parallel.rank() else contextlib.nullcontext() as shown:
            run = Run(
                chosen,
                frames,
                args.out,
                args.seed,
                args.arm,
                progress,
                shown,
                args.precision,
                origin,
            )
            STAGE_FUNCTIONS[stage](run)
        parallel.barrier()
        progress(f"done in {(time.monotonic() - start) / 60:.1f} min")
