"""`defi train`: runs one stage or all of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from defi_models.contract import DefiError
from defi_models.datasets.frames import Frames, open_frames
from defi_models.training.presets import PRESETS, STAGES, Preset, preset


class Train:
    """Trains a model in stages."""

    help = "train the autoencoder, the GFDM, the GIDM and the policy"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "stage", choices=[*STAGES, "all"], help="which stage; `all` runs those not yet done in order"
        )
        parser.add_argument("--preset", default="nano", help=f"one of {sorted(PRESETS)}")
        parser.add_argument("--data", type=Path, required=True, help="folder of episodes, as `defi data sim` writes it")
        parser.add_argument("--out", type=Path, required=True, help="folder of the run; <out>/checkpoint is the policy")
        parser.add_argument("--seed", type=int, default=0, help="of all randomness")
        parser.add_argument("--arm", default="franka_panda", help="the arm of the demonstrations")
        parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
        parser.add_argument("--processes", type=int, default=1, help="processes on this machine that train together")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the stages asked for.

        Raises:
            DefiError: the data or the run's folder lacks something.
        """
        chosen = preset(args.preset)
        frames = open_data(args.data, chosen)
        if frames.step_ns != chosen.model(()).step_ns:
            step_ns = chosen.model(()).step_ns
            raise DefiError(
                f"{args.data}: got episodes sampled every {frames.step_ns} ns, expected {step_ns} ns "
                f"for preset {chosen.name!r}; make them with `defi data sim --rate-hz {1e9 / step_ns:g}`"
            )
        args.out.mkdir(parents=True, exist_ok=True)
        from defi_models.training import parallel  # torch takes seconds, and wrong input is told at once

        undone = [stage for stage in STAGES if not (args.out / f"{stage}.safetensors").exists()]
        parallel.launch(args.processes, partial(_train, args, undone if args.stage == "all" else [args.stage]))
        return 0


def open_data(folder: Path, chosen: Preset) -> Frames:
    """The episodes of a folder as the preset's model sees them."""
    model = chosen.model(())
    return open_frames(folder, model.cameras, model.gfdm.image_size)


def _train(args: argparse.Namespace, stages: Sequence[str]) -> None:
    import torch

    from defi_models.training import parallel
    from defi_models.training.stages import STAGE_FUNCTIONS, Run

    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = preset(args.preset)
    frames = open_data(args.data, chosen)
    for stage in stages:
        start = time.monotonic()

        def progress(line: str, stage: str = stage) -> None:
            if parallel.rank() == 0:
                sys.stdout.write(f"{stage}: {line}\n")
                sys.stdout.flush()

        STAGE_FUNCTIONS[stage](Run(chosen, frames, args.out, args.seed, args.arm, progress))
        parallel.barrier()
        progress(f"done in {(time.monotonic() - start) / 60:.1f} min")
