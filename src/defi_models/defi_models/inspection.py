"""`defi inspect`: what a model consists of, what it costs, and which node loads what of a checkpoint."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint
from defi_models.config import DefiConfig
from defi_models.contract import CheckpointError, ConfigError
from defi_models.files import check_place, write_json
from defi_models.inference.load import SCRIPTED, resolve
from defi_models.training.presets import PRESETS, preset


class Inspect:
    """Describes a model."""

    help = "say what a model consists of, what it costs, and which node loads what"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "model", help=f"a checkpoint folder, a shipped policy, or a preset ({', '.join(sorted(PRESETS))})"
        )
        parser.add_argument("--json", type=Path, default=None, help="where to write the same as JSON")

    def run(self, args: argparse.Namespace) -> int:
        """Describes it.

        Raises:
            ConfigError: there is neither such a checkpoint nor such a preset.
            CheckpointError: the checkpoint is damaged.
        """
        check_place("--json", args.json)
        report = describe(args.model)
        for line in lines(report):
            sys.stdout.write(line + "\n")
        write_json(args.json, report)
        return 0


def describe(model: str) -> dict[str, Any]:
    """Everything `defi inspect` says, computed from the model itself.

    Args:
        model: A checkpoint folder, a shipped policy or a preset.
    """
    from defi_models.inventory import CHUNK, INSTRUCTION, parts  # torch takes seconds, and wrong input is told at once

    config, checkpoint = _find(model)
    found = parts(config)
    loaded = {
        node: sum(part.parameters for part in found if part.file == file)
        for node, file in (("imagination_node", FORWARD), ("action_node", INVERSE))
    }
    return {
        "model": model,
        "checkpoint": None if checkpoint is None else str(checkpoint.folder),
        "feature_shape": list(config.feature_shape),
        "parts": [asdict(part) for part in found],
        "loaded_parameters": loaded,
        "gigaflop_a_chunk": sum(part.gigaflop for part in found if part.once == CHUNK),
        "gigaflop_an_instruction": sum(part.gigaflop for part in found if part.once == INSTRUCTION),
        "files": [] if checkpoint is None else files(checkpoint),
    }


def files(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Each file of a checkpoint: its size, which node loads it, and whether it is the file that was saved.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    nodes = {FORWARD: "imagination_node", INVERSE: "action_node"}
    return [
        {
            "file": name,
            "bytes": checkpoint.weights(name).stat().st_size,
            "loaded_by": nodes.get(name, "both nodes" if name.endswith(".json") else "`defi imagine`"),
        }
        for name in sorted(checkpoint.hashes)
    ]


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    found = [f"{'part':<40} {'parameters':>14} {'GFLOP':>9}  {'once':<15} loaded by"]
    for part in report["parts"]:
        found.append(
            f"{part['name']:<40} {part['parameters']:>14,} {part['gigaflop']:>9.2f}  {part['once']:<15} {part['node']}"
        )
    loaded = ", ".join(f"{node} {number:,}" for node, number in report["loaded_parameters"].items())
    found += [
        f"loaded: {loaded}",
        f"{report['gigaflop_a_chunk']:.2f} GFLOP a chunk, {report['gigaflop_an_instruction']:.2f} once an instruction; "
        f"features {tuple(report['feature_shape'])}",
    ]
    found += [f"{file['file']:<24} {file['bytes'] / 1e6:>10.1f} MB  {file['loaded_by']}" for file in report["files"]]
    return found


def _find(model: str) -> tuple[DefiConfig, Checkpoint | None]:
    try:
        checkpoint = resolve(model)
    except CheckpointError as error:
        if model == SCRIPTED or Path(model).expanduser().is_dir():
            raise
        if model not in PRESETS and "/" in model:
            raise ConfigError(f"no model {model!r}: {error}") from error
        return preset(model).model(()), None
    return checkpoint.config, checkpoint
