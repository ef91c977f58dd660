"""One arm with one seed: trained, judged, and its result written; finished steps are kept, so it goes on where it was.

<out>/seed_<n>/shared/    what arms of a seed have in common: autoencoder, latents, pretrained GFDM and GIDM
<out>/seed_<n>/<arm>/     the run of an arm; checkpoint/, attempts.json while it is judged, result.json at the end
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from defi_models.contract import ConfigError, Policy
from defi_models.datasets.frames import Frames
from defi_models.evaluation.rollout import Attempt, Timing, attempt
from defi_models.experiment.arms import ENTANGLED, Arm, Budget
from defi_models.experiment.baseline import load_entangled, new_network, train_entangled, trained_parameters
from defi_models.experiment.footage import task_names
from defi_models.experiment.outcome import RESULT, read_outcomes, read_result
from defi_models.files import write_text
from defi_models.inference.load import load_policy
from defi_models.models.defi import ForwardHalf, InverseHalf, count_parameters
from defi_models.training.policy_stage import held_out_episodes
from defi_models.training.run import Run
from defi_models.training.stages import STAGE_FUNCTIONS
from defi_sim.world import World

SHARED = "shared"
ATTEMPTS, BUDGET = "attempts.json", "budget.json"
SPLIT = "test"
FIRST_ATTEMPT_SEED, ATTEMPT_SEEDS = 900_000, 1000  # far from those of the data; each training seed has its own
SAVE_EVERY = 4  # attempts
PRETRAINED = ("gfdm", "gidm")
TARGET = "franka_panda"


@dataclass(frozen=True)
class Trial:
    """One arm with one seed.

    Attributes:
        out: Folder of the experiment.
        budget: What every arm gets.
        frames: All data.
        amounts: How many demonstrations and clips that is.
        seed: Of all randomness.
        progress: Told one line at a time.
    """

    out: Path
    budget: Budget
    frames: Frames
    amounts: dict[str, int]
    seed: int
    progress: Callable[[str], None]

    @property
    def folder(self) -> Path:
        """Of the seed."""
        return self.out / f"seed_{self.seed}"

    def run(self, arm: Arm) -> dict[str, Any]:
        """Does what is left of an arm; its result."""
        place = self.folder / arm.name
        if (place / RESULT).is_file():
            return read_result(place / RESULT)
        self.prepare(arm)
        training = self._training(arm, place)
        if not (place / "policy.safetensors").is_file() or not (place / "checkpoint").is_dir():
            self._train(arm, training)
        attempts = judge(place, self._policy(arm, place), self.budget, self.seed, self.progress)
        result = self._result(arm, place, training, attempts)
        write_text(place / RESULT, json.dumps(result, indent=1) + "\n")
        (place / ATTEMPTS).unlink()
        for made in (*place.glob("latents*.npy"), *place.glob("features*.npy")):
            made.unlink()
        return result

    def prepare(self, arm: Arm) -> None:
        """Makes what arms of a seed share, as far as `arm` needs it."""
        shared = self._training(arm, self.folder / SHARED)
        wanted = ["autoencoder", *(stage for stage in PRETRAINED if getattr(arm, stage))]
        for stage in wanted:
            if not (shared.out / f"{stage}.safetensors").is_file():
                self.progress(f"seed {self.seed}: {stage}, shared by the arms that need it")
                STAGE_FUNCTIONS[stage](shared)

    def _training(self, arm: Arm, place: Path) -> Run:
        return Run(self.budget.preset(arm), self.frames, place, self.seed, TARGET, self._told(place))

    def _told(self, place: Path) -> Callable[[str], None]:
        return lambda line: self.progress(f"seed {self.seed}: {place.name}: {line}")

    def _train(self, arm: Arm, training: Run) -> None:
        """Stage 3 of an arm, on what it shares and on fresh weights for what is not pretrained."""
        shared, place = self.folder / SHARED, training.out
        place.mkdir(parents=True, exist_ok=True)
        given = ["autoencoder", *(stage for stage in PRETRAINED if getattr(arm, stage))]
        for file in (*(f"{stage}.safetensors" for stage in given), *(f"{stage}.figures.json" for stage in given)):
            shutil.copyfile(shared / file, place / file)
        for latents in shared.glob("latents*.npy"):
            shutil.copyfile(latents, place / latents.name)
        if arm.name == ENTANGLED:
            train_entangled(training, self.budget.steps)
            return
        config = training.config
        torch.manual_seed(self.seed)
        forward = ForwardHalf(config, video=True)
        inverse = InverseHalf(config, forward.gfdm.feature_width)
        training.load("autoencoder", forward.gfdm.autoencoder)
        if not arm.gfdm:
            training.save("gfdm", forward, {"steps": 0})
        if not arm.gidm:
            training.save("gidm", nn.ModuleDict({"gidm": inverse.gidm, "text": inverse.text}), {"steps": 0})
        STAGE_FUNCTIONS["policy"](training)

    def _policy(self, arm: Arm, place: Path) -> Policy:
        checkpoint = place / "checkpoint"
        return load_entangled(checkpoint) if arm.name == ENTANGLED else load_policy(str(checkpoint))

    def _result(self, arm: Arm, place: Path, training: Run, attempts: list[Attempt]) -> dict[str, Any]:
        """What a report needs to know, and nothing that differs from one machine to the next."""
        config = training.config
        figures = json.loads((place / "policy.figures.json").read_text())
        entangled = arm.name == ENTANGLED
        steps = {stage: self.budget.schedules[stage].steps for stage in PRETRAINED if getattr(arm, stage)}
        return {
            "arm": arm.name,
            "label": arm.label,
            "budget": self.budget.name,
            "seed": self.seed,
            "steps": {**steps, "policy": training.preset.schedules["policy"].steps},
            "batch": {stage: schedule.batch for stage, schedule in self.budget.schedules.items()},
            "autoencoder_steps": self.budget.schedules["autoencoder"].steps,
            "parameters": count_parameters([new_network(config)]) if entangled else trained_parameters(config),
            "data": self.amounts,
            "target_share": self.budget.target_share,
            "held_out_tasks": Counter(self.frames.tasks[episode] for episode in held_out_episodes(self.frames)),
            "held_out": {name: value for name, value in figures.items() if name.startswith("held_out")},
            "stage_3_seconds": figures["seconds"],
            "split": SPLIT,
            "timing": asdict(Timing(timeout_s=self.budget.timeout_s)),
            "attempts": [asdict(one) for one in attempts],
        }


def judge(place: Path, policy: Policy, budget: Budget, run_seed: int, progress: Callable[[str], None]) -> list[Attempt]:
    """Attempts the tasks in turn in test scenes, the same for all arms; what an interruption left in `place` is kept.

    Raises:
        ConfigError: that is damaged.
    """
    path, tasks, timing = place / ATTEMPTS, task_names(), Timing(timeout_s=budget.timeout_s)
    try:
        done = [Attempt(**one) for one in json.loads(path.read_text())] if path.is_file() else []
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: got {error!r}, expected the attempts so far; delete it") from error
    first = FIRST_ATTEMPT_SEED + ATTEMPT_SEEDS * run_seed
    with World() as world:
        while len(done) < budget.attempts:
            number = len(done)
            task, seed = tasks[number % len(tasks)], first + number
            done.append(attempt(world, policy, task, seed, timing, split=SPLIT))
            if len(done) % SAVE_EVERY == 0 or len(done) == budget.attempts:
                write_text(path, json.dumps([asdict(one) for one in done]))
                progress(f"{place.name}: {sum(a.success for a in done)} of {len(done)} attempts")
    return done


def check_data(out: Path, amounts: Mapping[str, int]) -> None:
    """Refuses to add results on other data to those of a folder.

    Raises:
        ConfigError: so.
    """
    for outcome in read_outcomes(out).values():
        for result in outcome.results:
            if result["data"] != amounts:
                raise ConfigError(
                    f"--out {out}: holds results on {result['data']}, got {dict(amounts)}; give the same --data, or another "
                    "--out"
                )


def check_budget(out: Path, budget: Budget) -> None:
    """Writes down whose results a folder holds, or refuses to add those of another budget.

    Raises:
        ConfigError: so; or the file that says it is damaged.
    """
    path = out / BUDGET
    if path.is_file():
        try:
            found, asked = dict(json.loads(path.read_text())), json.loads(json.dumps(budget.facts()))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{path}: got {error!r}, expected what `defi claim` wrote; choose another --out"
            ) from error
        differ = sorted(name for name in asked if found.get(name) != asked[name])
        if "name" in differ:
            raise ConfigError(
                f"--out {out}: holds results of budget {found.get('name')!r}, got --budget {budget.name!r}"
            )
        if differ:
            raise ConfigError(
                f"--out {out}: holds results of budget {budget.name!r} with another {', '.join(differ)}; choose another "
                "folder, or delete this one"
            )
    write_text(path, json.dumps(budget.facts()) + "\n")
