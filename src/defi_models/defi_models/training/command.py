"""`defi train`: runs one stage or all of them, in one process, in several, or as one of a cluster's."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from defi_models.bar import bar
from defi_models.checkpoint import check_replaceable
from defi_models.contract import ConfigError
from defi_models.datasets.frames import Frames
from defi_models.datasets.inspecting import add_camera, cameras_of
from defi_models.datasets.mixture import mixed
from defi_models.datasets.packing import open_frames
from defi_models.options import check_at_least
from defi_models.training.presets import PRESETS, STAGES, Preset, preset, with_changes


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
    if not 0 <= args.max_damaged <= 1:
        raise ConfigError(f"--max-damaged: got {args.max_damaged}, expected a share in 0..1")
    if args.steps < 0 or (args.steps and args.stage == "all"):
        raise ConfigError(
            f"--steps: got {args.steps} for {args.stage!r}, expected a number of steps for one stage, or 0 for the preset's"
        )
    if args.out.is_file():
        raise ConfigError(f"--out {args.out}: got a file, expected a folder")
    check_replaceable(args.out / "checkpoint")


def open_data(args: argparse.Namespace, chosen: Preset) -> Frames:
    """The data asked for, as the preset's model sees it.

    Raises:
        DatasetError: some is missing, damaged or does not fit the model.
    """
    model = chosen.model(())
    if args.latents:
        from defi_models.datasets.latents import open_latents

        return mixed([(open_latents(folder), weight) for folder, weight in map(weighted, args.latents)])
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
                args.start and Start(args.start),
            )
            run.describe(stage)
            STAGE_FUNCTIONS[stage](run)
        parallel.barrier()
        progress(f"done in {(time.monotonic() - start) / 60:.1f} min")
