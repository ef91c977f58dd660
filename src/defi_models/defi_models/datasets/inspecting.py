"""`defi data info` and `defi data encode`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from defi_models.bar import bar
from defi_models.contract import ConfigError
from defi_models.files import check_folder
from defi_models.options import check_at_least


def add_info(kinds: argparse._SubParsersAction) -> None:
    """Declares `defi data info`."""
    parser = kinds.add_parser("info", help="what a folder of data holds")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=20, help="clips to read, spread over all; 0 reads every one")
    add_camera(parser)


def add_encode(kinds: argparse._SubParsersAction) -> None:
    """Declares `defi data encode`."""
    parser = kinds.add_parser("encode", help="latents of a dataset, made once for `defi train gfdm --latents`")
    parser.add_argument("--data", type=Path, required=True, help="folder of any kind of data")
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a run, or of a policy, with an autoencoder"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument(
        "--ray", default=None, metavar="ADDRESS", help="a Ray cluster in place of processes; local: here"
    )
    parser.add_argument("--clips-per-shard", type=int, default=64)
    parser.add_argument("--max-damaged", type=float, default=0.05, help="share of unreadable clips that is skipped")
    add_camera(parser)


def add_camera(parser: argparse.ArgumentParser) -> None:
    """Declares `--camera`."""
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="WANTED=ITS_NAME",
        help="which camera of the data is meant, where names differ; repeatable",
    )


def cameras_of(texts: list[str]) -> dict[str, str]:
    """Name that a camera has in the data -> name that it gets.

    Raises:
        ConfigError: a text is not WANTED=ITS_NAME.
    """
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (wanted, _, its) in zip(texts, pairs, strict=True) if not wanted or not its]
    if wrong:
        raise ConfigError(f"--camera: got {wrong[0]!r}, expected WANTED=ITS_NAME, such as static=front")
    return {its: wanted for wanted, _, its in pairs}


def check_share(option: str, given: float) -> None:
    """Refuses what is no share of a whole.

    Raises:
        ConfigError: so.
    """
    if not 0 <= given <= 1:
        raise ConfigError(f"{option}: got {given}, expected a share in 0..1")


def show_info(args: argparse.Namespace) -> int:
    """Prints what was found.

    Raises:
        ConfigError: a number is out of range.
    """
    check_at_least(0, args, "clips")
    from defi_models.datasets.findings import findings

    for line in findings(args.folder, args.clips, cameras_of(args.camera)):
        sys.stdout.write(line + "\n")
    return 0


def run_encode(args: argparse.Namespace) -> int:
    """Encodes, telling how far it is.

    Raises:
        ConfigError: a number is out of range.
    """
    check_at_least(1, args, "jobs", "clips_per_shard")
    check_share("--max-damaged", args.max_damaged)
    check_folder("--out", args.out)
    from defi_models.datasets.encode import encode, plan_of

    plan = plan_of(args.data, args.model, args.out, args.clips_per_shard, cameras_of(args.camera))
    start = time.monotonic()

    with bar("shards") as shown:

        def progress(done: int, shards: int, damaged: int) -> None:
            if shown is not None:
                shown(done, shards, f"{damaged} clips damaged")
                return
            minutes = (time.monotonic() - start) / 60
            sys.stdout.write(f"shard {done}/{shards}  {damaged} clips damaged  {minutes:.1f} min\n")
            sys.stdout.flush()

        made = encode(plan, jobs=args.jobs, ray_address=args.ray, tolerated=args.max_damaged, progress=progress)
    sys.stdout.write(f"{len(plan.names)} clips in {plan.shards} shards: {made}\n")
    return 0


INSPECTING: Mapping[str, Callable[[argparse.Namespace], int]] = {"info": show_info, "encode": run_encode}
