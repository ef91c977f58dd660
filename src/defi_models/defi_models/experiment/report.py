"""docs/results.md, made from saved figures alone: every number in it is read from a JSON file that a command wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defi_models.contract import ConfigError
from defi_models.evaluation.interval import wilson_interval
from defi_models.experiment.arms import ARMS, NOISE_DRAWS, labelled
from defi_models.experiment.outcome import HELD_OUT, Outcome, order, read_outcomes, verdicts
from defi_models.experiment.paper import CHUNK_MS, GIGAFLOP, PARAMETERS_M, REMARKS, TOGETHER
from defi_models.files import write_text

Report = Mapping[str, Any]
HEAD = """# Results

Made by `defi claim --report` from saved figures; do not edit it by hand. Intervals are 95 %.
"""
TARGET_CHAINS, TARGET_MS, TARGET_DIFFERENCE, TARGET_GIB = (2.5, 4.5), 60.0, 1e-3, 24.0  # what the project set itself
TARGET_PARAMETERS, TARGET_GIGAFLOP = 0.01, 0.05  # how far from the paper's


def write_report(path: Path, out: Path, given: Mapping[str, Sequence[Path]]) -> None:
    """Writes the page.

    Args:
        path: The page.
        out: Folder of the experiment.
        given: Option of a section -> files of its command.

    Raises:
        ConfigError: a file is missing or is not what the command writes, or there is nothing to report.
    """
    outcomes = read_outcomes(out)
    if not outcomes and not any(given.values()):
        raise ConfigError(f"--out {out}: got no results and no other figures, expected some; run `defi claim` first")
    sections = [HEAD, claim(outcomes), *(section.text(given.get(section.option, ())) for section in SECTIONS)]
    write_text(path, "\n".join(sections))


@dataclass(frozen=True)
class Section:
    """A part of the page that one command's figures make.

    Attributes:
        option: Of `defi claim --report`, without its dashes.
        title: Its heading.
        command: What writes the figures.
        make: The text of one file.
    """

    option: str
    title: str
    command: str
    make: Callable[[Report], str]

    def text(self, files: Sequence[Path]) -> str:
        """The section of all files.

        Raises:
            ConfigError: one is missing, or is not what the command writes.
        """
        head = f"## {self.title}\n\n"
        if not files:
            return f"{head}No figures were given: `{self.command}`, then `defi claim --report --{self.option} FILE`.\n"
        made = []
        for file in files:
            try:
                made.append(self.make(json.loads(file.read_text())))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
                raise ConfigError(
                    f"--{self.option} {file}: got {error!r}, expected what `{self.command}` writes"
                ) from error
        return f"{head}By `{self.command}`.\n\n" + "\n".join(made)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def claim(outcomes: Mapping[str, Outcome]) -> str:
    """The section of the paper's claim."""
    title = "## The claim of the paper: separate pretraining of both halves"
    if not outcomes:
        return f"{title}\n\nNo result yet: `defi claim --budget cpu` makes one.\n"
    first = next(iter(outcomes.values())).results[0]
    seeds = max(len(outcome.seeds) for outcome in outcomes.values())
    text = [
        title,
        "",
        _setting(first, outcomes),
        "",
        table(
            [
                "arm",
                "seeds",
                "attempts",
                "success",
                "95 %",
                "held-out error",
                "steps",
                "windows with actions",
                "trained parameters",
            ],
            [_row(outcome) for outcome in outcomes.values()],
        ),
        *(f"- {sentence}" for sentence in verdicts(outcomes)),
        f"- {order(outcomes)}",
        f"- All arms try the same scenes, so differences are taken scene by scene; their intervals hold together (Bonferroni). "
        "Intervals count attempts, not seeds: with "
        f"{seeds} seed{'s' * (seeds > 1)} they say nothing of how much another training run would differ.",
        "",
        table(["success by task", *outcomes], _task_rows(outcomes)),
    ]
    return "\n".join(text)


def _setting(first: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> str:
    """What was done, in words and numbers of the saved results."""
    data = dict(first["data"])
    target = data.pop("target")
    videos = ", ".join(f"{count} of {name.replace('_', ' ')}" for name, count in data.items())
    total = sum(first["steps"].values())
    timing, batch = first["timing"], first["batch"]
    results = sorted((r for outcome in outcomes.values() for r in outcome.results), key=lambda r: r["seed"])
    held_out = "; ".join(dict.fromkeys(f"seed {r['seed']}: {_listed(r['held_out_tasks'])}" for r in results))
    seconds = {
        name: sum(r["stage_3_seconds"] for r in outcome.results) / len(outcome.results)
        for name, outcome in outcomes.items()
    }
    minutes = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    return (
        f"Budget `{first['budget']}`: {target} demonstrations of the target arm, and video without actions ({videos}). "
        f"Every arm makes {total} gradient steps (batches: GFDM {batch['gfdm']}, GIDM {batch['gidm']}, stage 3 "
        f"{batch['policy']}) on one autoencoder a seed that all share ({first['autoencoder_steps']} steps). A half without "
        "pretraining has the same architecture and fresh weights, which stage 3 alone trains, through the loss of the "
        "actions, on the target demonstrations; the steps of its pretraining are added to stage 3. A pretrained GFDM is "
        "frozen in stage 3. In pretraining the target's demonstrations, without their actions, are "
        f"{first['target_share']:.0%} of all samples; about one episode in twenty is held out, its actions from stage 3 but "
        f"not its images from pretraining ({held_out}). The entangled baseline predicts the frames to come and the actions "
        "in one pass of one transformer, by regression; half of each of its batches is video without actions, so it meets "
        "fewer windows with actions than the others in as many steps, and each once where they draw "
        f"{NOISE_DRAWS} noises for it.\n\n"
        f"Judged on the tasks of the fixtures in scenes of the split `{first['split']}`, which no training saw; an attempt "
        f"fails after {timing['timeout_s']:g} s, a chunk is asked for every {timing['replan_s']:g} s and comes "
        f"{timing['latency_s']:g} s late. {_wordings(outcomes)} Held-out error: mean absolute error of the translation and of the rotation of "
        f"all actions of a chunk. Equal steps are not equal time; minutes of stage 3 (all of its training, for the "
        f"entangled one), mean over seeds: {minutes}."
    )


def _listed(held_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {task}" for task, count in held_out.items())


def _wordings(outcomes: Mapping[str, Outcome]) -> str:
    """In how many wordings the tasks were asked for."""
    said: dict[str, set[str]] = {}
    for one in (one for outcome in outcomes.values() for result in outcome.results for one in result["attempts"]):
        said.setdefault(one["task"], set()).add(one["instruction"])
    least, most = min(map(len, said.values())), max(map(len, said.values()))
    return f"A task is asked for in {least if least == most else f'{least} to {most}'} wording{'s' * (most > 1)}."


def _row(outcome: Outcome) -> list[str]:
    low, high = outcome.interval
    errors = []
    for name, unit in zip(HELD_OUT, ("mm", "rad"), strict=True):
        mean, deviation = outcome.held_out(name)
        digits = 2 if unit == "mm" else 4
        spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
        errors.append(f"{mean:.{digits}f}{spread} {unit}")
    first = outcome.results[0]
    steps = " + ".join(f"{count} {stage}" for stage, count in first["steps"].items())
    seeds = ", ".join(str(seed) for seed in outcome.seeds)
    rate = f"{outcome.success:.1%} ({outcome.successes})"
    interval, parameters = f"[{low:.1%}, {high:.1%}]", f"{first['parameters'] / 1e6:.2f} M"
    windows = f"{labelled(first['arm'], first['batch']['policy']) * first['steps']['policy']:,}"
    return [outcome.label, seeds, str(outcome.count), rate, interval, ", ".join(errors), steps, windows, parameters]


def _task_rows(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    counts = {name: outcome.per_task() for name, outcome in outcomes.items()}
    tasks = sorted({task for each in counts.values() for task in each})
    return [
        [task, *("{}/{}".format(*counts[name].get(task, (0, 0))) for name in ARMS if name in outcomes)]
        for task in tasks
    ]


def chain_section(report: Report) -> str:
    """Long-horizon chains of one policy."""
    low, high = report["interval_95"]
    rows = [[str(k), f"{share:.1%}"] for k, share in report["success"].items()]
    average, (landing, aim) = report["average_length"], TARGET_CHAINS
    reached = "the aim" if average >= aim else "the first landing, not the aim" if average >= landing else "neither"
    return (
        f"`{Path(str(report['policy'])).name}`, {_so_far(report['chains'], report)}chains of unseen scenes (split "
        f"`{report.get('split', 'test')}`), seed {report['seed']}: average length **{average:.2f}** [{low:.2f}, {high:.2f}]. "
        f"First landing {landing}, aim {aim}: it reaches {reached}.\n\n" + table(["in a row", "share of chains"], rows)
    )


def _so_far(done: int, report: Report) -> str:
    """How many were done, and that there should be more."""
    asked = int(report.get("asked", done))
    return f"{done} " if done >= asked else f"UNFINISHED, {done} of {asked} "


def export_section(report: Report) -> str:
    """How a policy's graphs compare with torch."""
    rows = [
        [name.removesuffix("_ms").upper(), f"{row['torch']:.1f}", f"{row['onnx']:.1f}"]
        for name, row in report.items()
        if name in ("gfdm_ms", "gidm_ms", "chunk_ms")
    ]
    total = report["chunk_ms"]
    difference = report["action_difference"]
    met = "within" if difference <= TARGET_DIFFERENCE else "above"
    quick = "within" if total["onnx"] <= TARGET_MS else "above"
    return (
        f"Largest difference of normalised actions between torch and onnxruntime: {difference:.1e}, {met} "
        f"{TARGET_DIFFERENCE:g}. A chunk takes {total['onnx']:.1f} ms with onnxruntime, {quick} {TARGET_MS:g} ms and "
        f"{'no slower' if total['onnx'] <= total['torch'] else 'slower'} than torch.\n\n"
        + table(["median, one thread [ms]", "torch", "onnxruntime"], rows)
    )


def inspect_section(report: Report) -> str:
    """Parameters and operations of a model, part by part, beside those of the paper's own modules."""
    rows, far = [], []
    for part in (*report["parts"], *_together(report["parts"])):
        name = part["name"]
        apart = {
            TARGET_PARAMETERS: _apart(part["parameters"] / 1e6, PARAMETERS_M.get(name)),
            TARGET_GIGAFLOP: _apart(part["gigaflop"], GIGAFLOP.get(name)),
        }
        if any(one is not None and abs(one) > least for least, one in apart.items()):
            far.append(f"{name}: {REMARKS.get(name, 'unexplained')}")
        holds, costs = ("" if one is None else f"{one:+.1%}" for one in apart.values())
        counts = [f"{part['parameters']:,}", holds, f"{part['gigaflop']:,.2f}", costs]
        rows.append([name, *counts, part["once"], part["node"]])
    text = table(["part", "parameters", "to the paper's", "GFLOP", "to the paper's", "once a", "loaded by"], rows)
    bounds = f"{TARGET_PARAMETERS:.0%} of parameters and {TARGET_GIGAFLOP:.0%} of GFLOP"
    return f"{text}\nFurther from the paper's than {bounds}: {'; '.join(far) or 'none'}.\n"


def _together(parts: Sequence[Report]) -> list[Report]:
    """The rows of `TOGETHER` whose parts are all there."""
    named = {part["name"]: part for part in parts}
    return [
        {
            "name": name,
            "parameters": sum(named[part]["parameters"] for part in of),
            "gigaflop": sum(named[part]["gigaflop"] for part in of),
            "once": "chunk",
            "node": "",
        }
        for name, of in TOGETHER.items()
        if set(of) <= set(named)
    ]


def _apart(own: float, theirs: float | None) -> float | None:
    return None if theirs is None else own / theirs - 1


def metaworld_section(report: Report) -> str:
    """Success at each task of Meta-World's MT10."""
    every = [success for score in report["per_task"] for success in score["successes"]]
    low, high = wilson_interval(sum(every), len(every))
    rows = []
    for score in report["per_task"]:
        won, tried = sum(score["successes"]), len(score["successes"])
        own_low, own_high = wilson_interval(won, tried)
        rows.append([score["task"], f"{won} of {tried}", f"[{own_low:.0%}, {own_high:.0%}]"])
    return (
        f"`{Path(str(report['policy'])).name}`, {_so_far(len(every), report)}attempts from arrangements that no demonstration had, "
        f"seed {report['seed']}: **{sum(every) / len(every):.1%}** [{low:.1%}, {high:.1%}].\n\n"
        + table(["task", "successes", "95 %"], rows)
    )


def latency_section(report: Report) -> str:
    """How long one chunk of a model takes, and what it holds."""
    median, peak = report["median_ms"], report["peak"]
    rows = [[stage, f"{ms:,.1f}", f"{CHUNK_MS[stage]:g}" if stage in CHUNK_MS else ""] for stage, ms in median.items()]
    held = ", ".join(f"{gib:.1f} GiB of {name.removesuffix('_gib')} memory" for name, gib in peak.items())
    fits = "within" if peak["host_gib"] <= TARGET_GIB else "above"
    return (
        f"`{report['policy']}` on {report['device']}, {report['threads']} CPU threads, median of {report['chunks']}: at most "
        f"{held}, {fits} {TARGET_GIB:g} GiB.\n\n" + table(["stage", "ms", "paper, RTX 4090"], rows)
    )


SECTIONS = (
    Section("chains", "Chains", "defi eval chains --policy nano --json FILE", chain_section),
    Section("metaworld", "Meta-World", "defi eval metaworld --policy FOLDER --json FILE", metaworld_section),
    Section("export", "ONNX and latency", "defi export nano --onnx --json FILE", export_section),
    Section("inspect", "The model of the paper", "defi inspect base --json FILE", inspect_section),
    Section("latency", "One chunk of the paper's model", "python bench/latency.py base --json FILE", latency_section),
)
