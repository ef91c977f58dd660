"""One training run: its data, its folder, and what a stage leaves there for those after it.

<run>/run.json                 preset, model, seed and data
<run>/<stage>.safetensors      averaged weights of a finished stage     <run>/<stage>.figures.json
<run>/<stage>.state            what an unfinished stage goes on from
<run>/curves, <run>/pictures   see `watch`
<run>/checkpoint               the policy
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from defi_models.bar import Bar
from defi_models.config import DefiConfig, PretrainedTextConfig, TextConfig
from defi_models.contract import ConfigError
from defi_models.datasets.frames import UNSAID, Frames
from defi_models.datasets.latents import RUN_FILE, read_config
from defi_models.datasets.reading import read_json
from defi_models.files import write_text
from defi_models.training import parallel
from defi_models.training.loop import check_shares, fit
from defi_models.training.presets import STAGES, Preset
from defi_models.training.start import Start
from defi_models.training.state import TrainingError, check_begun, forget, save_whole
from defi_models.training.step import Step, share
from defi_models.training.watch import Picture, Watch
from defi_models.words import Tokenizer, tokenizer_of, vocabulary

NAMED = 3  # differing numbers of two models, in a message


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        preset: What is trained.
        frames: The data.
        out: Folder of the run.
        seed: Of all randomness.
        arm: The arm the demonstrations are of.
        progress: Told one line at a time.
        bar: Shown in place of the lines about steps, where the output is a terminal.
        precision: Of the passes; see `parallel.engine`.
        start: A checkpoint to go on from; without one, stages begin with random weights.
    """

    preset: Preset
    frames: Frames
    out: Path
    seed: int
    arm: str
    progress: Callable[[str], None]
    bar: Bar | None = None
    precision: parallel.Precision = "auto"
    start: Start | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of the data's instructions."""
        return vocabulary(text for texts in self.frames.instructions for text in texts)

    @property
    def config(self) -> DefiConfig:
        """The model. Its vocabulary is that of the checkpoint it starts from, of the run's first stage, or of the data."""
        if self.start is not None:
            return self.preset.model(self.start.words() or ())
        path = self.out / RUN_FILE
        text = read_config(path).text if path.is_file() else None
        return self.preset.model(text.words if isinstance(text, TextConfig) else self.words)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """How instructions become token ids.

        Raises:
            CheckpointError: tokenizers of pretrained text encoders are missing in the run's folder.
        """
        return tokenizer_of(self.config.text, self.out if self.start is None else self.start.folder)

    def check(self, stage: str) -> None:
        """Refuses what does not fit the run's folder or the stage, before anything is written.

        Raises:
            ContractError: a sentence of the data is longer than the text encoder takes; else it would be met at some step.
            TrainingError: the folder is that of another model.
            CheckpointError: it does not say of which.
        """
        if stage != "autoencoder":  # which reads no words
            self.tokenizer(sorted({text for texts in self.frames.instructions for text in texts}) or [UNSAID])
        path = self.out / RUN_FILE
        if not path.is_file():
            return
        config = read_config(path)
        if self.start is not None and getattr(config.text, "words", None) != getattr(self.config.text, "words", None):
            raise TrainingError(
                f"{path}: got the vocabulary of --start {self.start.folder}, expected that of the run in that folder, whose "
                "weights know other words; give another --out"
            )
        later = [one for one in STAGES[1:] if stage == STAGES[0] and (self.out / f"{one}.safetensors").is_file()]
        if later and self.start is None and isinstance(config.text, TextConfig) and config.text.words != self.words:
            raise TrainingError(
                f"{path}: got data with other words than its stages {later} know, expected the same ones; give another --out, "
                "or delete their weights to train them anew"
            )
        there, here = (dict(_numbers(asdict(config))) for config in (config, self.config))
        differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if differing:
            named = ", ".join(f"{name} {here.get(name)} instead of {there.get(name)}" for name in differing[:NAMED])
            more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
            raise TrainingError(
                f"{path}: got preset {self.preset.name!r} with {named}{more}, expected the model of the run in that folder "
                f"(preset {read_json(path).get('preset')!r}); give its --preset and --set, or another --out"
            )

    def check_loop(self, stage: str) -> None:
        """Refuses what the loop of a stage would: too small a batch, a precision that is not there, a state of another run.

        Raises:
            TrainingError: so.
            ConfigError: of the precision.
        """
        schedule = self.preset.schedules[stage]
        check_shares(schedule)
        parallel.check_precision(self.precision)
        own = {"seed": self.seed, "batch": schedule.batch, **self._whose}
        check_begun(self._state(stage), own, schedule.steps)

    def describe(self, stage: str) -> None:
        """Writes down what is trained, for people, for later stages and for `defi data encode`.

        Every process calls this, once the stage has what it begins with. The vocabulary is that of the first stage; words
        that later data bring are told.
        """
        path = self.out / RUN_FILE
        if parallel.rank() == 0:
            if self.start is not None:
                self.start.bring_tokenizers(self.out)
            anew = stage == "autoencoder" and self.start is None
            config = self.preset.model(self.words) if anew else self.config
            about = {"preset": self.preset.name, "seed": self.seed, "arm": self.arm, "config": asdict(config)}
            write_text(path, json.dumps(about, indent=1) + "\n")
            unknown = sorted(set(self.words) - set(config.text.words)) if isinstance(config.text, TextConfig) else []
            if unknown:
                self.progress(
                    f"{len(unknown)} words of these data are none of the run's: {', '.join(unknown[:10])}; give all data "
                    "to its first stage to have them learnt"
                )
        parallel.barrier()

    def load(self, stage: str, module: nn.Module, origin: str = "") -> None:
        """Reads what an earlier stage left, or where there is nothing, what the checkpoint to start from has of it.

        Args:
            stage: Its name.
            module: Takes the weights.
            origin: Where the file comes from, if from no stage.

        Raises:
            TrainingError: that stage has not been run, or was run with another model.
        """
        path = self.out / f"{stage}.safetensors"
        if not path.is_file() and (self.start is None or origin):
            raise TrainingError(f"{path} is missing: {origin or f'run `defi train {stage}` with the same --out first'}")
        try:
            module.load_state_dict(self.weights(stage))
        except (SafetensorError, RuntimeError) as error:
            where = path if path.is_file() or self.start is None else self.start.folder
            raise TrainingError(
                f"{where}: does not fit preset {self.preset.name!r} and these data ({str(error).splitlines()[0]}); train "
                "all stages of a run with the same --preset and --data, or delete the file and train that stage again"
            ) from error

    def weights(self, stage: str) -> dict[str, Tensor]:
        """What a stage left, or the checkpoint to start from has of it."""
        path = self.out / f"{stage}.safetensors"
        return load_file(str(path)) if path.is_file() or self.start is None else self.start.weights(stage)

    def begin(self, stage: str, module: nn.Module) -> bool:
        """Takes a stage's own weights from the checkpoint to start from; whether there is one.

        Raises:
            TrainingError: it is of another model, or there is none and the model has parts that no stage trains.
        """
        if self.start is None:
            if isinstance(self.config.text, PretrainedTextConfig):
                raise TrainingError(
                    f"preset {self.preset.name!r}: got no weights for its published encoders, expected --start FOLDER; "
                    "`defi import-official` makes such a folder"
                )
            return False
        try:
            module.load_state_dict(self.start.weights(stage))
        except RuntimeError as error:
            raise TrainingError(
                f"--start {self.start.folder}: got a model of preset {self.start.checkpoint.name!r} that does not fit "
                f"preset {self.preset.name!r} ({str(error).splitlines()[0]}); give the preset and --set it was made with"
            ) from error
        return True

    def save(self, stage: str, module: nn.Module, figures: Mapping[str, Any]) -> None:
        """Leaves weights and figures for the stages after: the last of a stage, which is done then. Every process calls this."""
        weights = {name: parallel.whole(tensor) for name, tensor in module.state_dict().items()}
        if parallel.rank() == 0:
            write_text(self.out / f"{stage}.figures.json", json.dumps(figures, indent=1))
            save_whole(weights, self.out / f"{stage}.safetensors")
        forget(self._state(stage))

    def train(
        self,
        stage: str,
        module: nn.Module,
        loss: Callable[[Step], tuple[Tensor, dict[str, float]]],
        pictures: Callable[[], Mapping[str, Picture]] | None = None,
        *,
        unused: bool = False,
    ) -> dict[str, Any]:
        """Writes down what is trained, runs the loop for one stage and returns its figures; see `fit`."""
        schedule = self.preset.schedules[stage]
        self.check_loop(stage)
        self.describe(stage)
        torch.manual_seed(self.seed)
        start = time.monotonic()
        first = parallel.rank() == 0
        watch = Watch(self.progress, self.bar, self.out, stage, pictures) if first else Watch()
        figures = fit(
            module,
            loss,
            schedule,
            self._state(stage),
            seed=self.seed,
            watch=watch,
            precision=self.precision,
            unused=unused,
            whose={name: str(value) for name, value in self._whose.items()},
        )
        return {**figures, "steps": schedule.steps, "batch": schedule.batch, "seconds": round(time.monotonic() - start)}

    @property
    def _whose(self) -> dict[str, Any]:
        """What a stage that was killed must find again to go on: else it ends as a mixture of two runs."""
        shares = [share.weight for share in self.frames.shares or ()]
        return {
            "model": hashlib.sha256(json.dumps(asdict(self.config), sort_keys=True).encode()).hexdigest()[:16],
            "data": f"{self.frames.identity}{shares or ''}",
            "start": self.start.checkpoint.fingerprint if self.start is not None else "none",
        }

    def _state(self, stage: str) -> Path:
        return self.out / f"{stage}.resume"

    def freeze(self, stage: str, parts: Mapping[str, nn.Module]) -> None:
        """Lets the preset choose what a stage does not train: parameters whose name begins with one of its prefixes.

        Args:
            stage: Name of the stage.
            parts: Its modules by the name that prefixes begin with.

        Raises:
            ConfigError: a prefix fits no parameter.
        """
        named = {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}
        for prefix in self.preset.frozen.get(stage, ()):
            chosen = [p for name, p in named.items() if f"{name}.".startswith(f"{prefix}.")]
            if not chosen:
                parents = sorted({name.rpartition(".")[0] for name in named})
                raise ConfigError(
                    f"preset {self.preset.name!r}: got frozen part {prefix!r} in stage {stage}, expected the beginning "
                    f"of one of {parents}"
                )
            for p in chosen:
                p.requires_grad_(False)

    def cached(
        self, name: str, shape: Sequence[int], made_of: str, fill: Callable[[np.ndarray, range], None]
    ) -> np.ndarray:
        """Float16 numbers computed once a run, by all processes of a machine; kept in its folder, mapped into memory.

        Args:
            name: Of the file.
            shape: Of the numbers.
            made_of: Identifies what they are computed from; they are computed again when that was something else.
            fill: Computes those of some rows.

        Raises:
            TrainingError: they are there, and are not of this shape.
        """
        path = self.out / name
        note, part = self.out / f"{name}.of", self.out / f".{name}.part"
        number, count = parallel.fillers()
        if number == 0:
            if note.is_file() and note.read_text() != made_of:
                path.unlink(missing_ok=True)
            if not path.is_file():
                np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=tuple(shape))
        parallel.barrier()
        missing = not path.is_file()
        if missing and number < count:
            values = np.lib.format.open_memmap(part, mode="r+")
            with torch.inference_mode():
                fill(values, range(shape[0])[share(shape[0], number, count)])
            values.flush()
        parallel.barrier()
        if missing and number == 0:
            write_text(note, made_of)
            part.replace(path)
        parallel.barrier()
        found = np.load(path, mmap_mode="r")
        if found.shape != tuple(shape):
            raise TrainingError(
                f"{path}: got shape {found.shape}, expected {tuple(shape)} for these data and this preset; "
                "delete it, or give another --out"
            )
        return found


def _numbers(config: Mapping[str, Any], under: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a model by their names; its vocabulary comes from the data and is none of them."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{under}{name}.")
        elif f"{under}{name}" != "text.words":
            yield f"{under}{name}", value
