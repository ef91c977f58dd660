"""`defi claim`: runs the comparison arm by arm and seed by seed, and writes the page of results."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from defi_models.experiment.arms import ARMS, BUDGETS, budget_named
from defi_models.experiment.report import SECTIONS, write_report
from defi_models.files import check_folder, check_place
from defi_models.options import check_at_least


class Claim:
    """Tests the claim of the paper."""

    help = (
        "test the paper's claim: what pretraining either half on other bodies' video is worth, and the page of results"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "--out", type=Path, default=Path("runs/claim"), help="folder; what is finished there is kept"
        )
        parser.add_argument("--budget", default="cpu", help=f"one of {list(BUDGETS)}")
        parser.add_argument("--seeds", type=int, default=1, help="seeds 0 .. N - 1, one after the other")
        parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="which arms")
        parser.add_argument("--data", type=Path, default=None, help="folder of the data; default: <out>/data")
        parser.add_argument("--threads", type=int, default=1, help="CPU threads")
        parser.add_argument("--jobs", type=int, default=1, help="processes that make demonstrations")
        parser.add_argument("--data-only", action="store_true", help="make the data and end")
        parser.add_argument("--report", action="store_true", help="run nothing; write the page from what is saved")
        parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="the page that --report writes")
        for section in SECTIONS:
            parser.add_argument(
                f"--{section.option}", type=Path, nargs="+", default=[], help=f"files of `{section.command}`"
            )

    def run(self, args: argparse.Namespace) -> int:
        """Runs what is left, or reports.

        Raises:
            ConfigError: an option is out of range, or the folder belongs to another budget.
            DefiError: the data cannot be made or read.
        """
        if args.report:
            check_place("--page", args.page)
            write_report(args.page, args.out, {section.option: getattr(args, section.option) for section in SECTIONS})
            sys.stdout.write(f"{args.page}\n")
            return 0
        budget = budget_named(args.budget)
        check_at_least(1, args, "seeds", "threads", "jobs")
        check_folder("--out", args.out)
        check_folder("--data", args.data)
        import torch

        from defi_models.experiment.footage import amounts, make_data, open_data
        from defi_models.experiment.trial import Trial, check_budget, check_data

        torch.set_num_threads(args.threads)
        check_budget(args.out, budget)
        started = time.monotonic()

        def progress(line: str) -> None:
            sys.stdout.write(f"{(time.monotonic() - started) / 60:6.1f} min  {line}\n")
            sys.stdout.flush()

        data = args.data or args.out / "data"
        make_data(data, budget, args.jobs, progress)
        progress(f"data: {', '.join(f'{name} {count}' for name, count in amounts(data).items())}")
        if args.data_only:
            return 0
        check_data(args.out, amounts(data))
        frames = open_data(data, budget)
        for seed in range(args.seeds):
            trial = Trial(args.out, budget, frames, amounts(data), seed, progress)
            for name in args.arms:
                result = trial.run(ARMS[name])
                won = sum(one["success"] for one in result["attempts"])
                progress(f"seed {seed}: {name}: {won} of {len(result['attempts'])} attempts, {result['held_out']}")
        return 0
