"""Stage 3: GIDM, video former and action denoiser on demonstrations, coupled to the GFDM by its features.

The preset says what stays as it is: the GFDM by default (defi-model 0), whose features are then computed once; nothing
of it in the ablation "all", where they are computed with gradient in every step.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO, write_checkpoint
from defi_models.config import ActionEncoding
from defi_models.contract import ConfigError
from defi_models.datasets.frames import Frames
from defi_models.models.defi import ForwardHalf, InverseHalf, InverseInputs
from defi_models.training import parallel
from defi_models.training.run import Run
from defi_models.training.samples import choose_words, features_of, latents_of
from defi_models.training.start import tokenizer_files
from defi_models.training.step import Step
from defi_models.transforms import Statistics

STORED_AT_MOST_BYTES = 64 * 2**30  # of features; more are computed in every step
HELD_OUT_EVERY = 20  # episodes, counted task by task; these are not trained on
HELD_OUT_FROM = 10  # episodes of a task on, one of it at least
VALIDATED = 512  # held-out windows at most
TRAINED_FORWARD = "policy.forward"  # the GFDM's weights where this stage trained it


@dataclass(frozen=True)
class Windows:
    """What the stage learns from; N windows.

    Attributes:
        samples: The sample each begins at, (N,).
        tokens: Token ids of an instruction, (N, L).
        actions: Normalised, (N, steps, action_width).
        proprioception: Normalised, (N, proprioception_width).
        statistics: Of both.
    """

    samples: np.ndarray
    tokens: Tensor
    actions: Tensor
    proprioception: Tensor
    statistics: Statistics

    def split(self, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
        """Windows to train on and windows of held-out episodes; the same ones where there are too few episodes."""
        held_out = np.isin(frames.episode[self.samples], held_out_episodes(frames))
        training, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        if not len(training):
            return validation, validation
        return (training, validation) if len(validation) else (training, training)


def demonstrated_episodes(frames: Frames) -> np.ndarray:
    """The episodes that have actions."""
    return np.unique(frames.episode[~np.isnan(frames.target_gripper)])


def held_out_episodes(frames: Frames) -> np.ndarray:
    """The demonstrations not to train on, spread evenly over the tasks; one at least of each that has some to spare."""
    ordered = sorted(demonstrated_episodes(frames), key=lambda e: (frames.tasks[e], e))
    held_out = set(ordered[::HELD_OUT_EVERY])
    for _, of_task in groupby(ordered, key=lambda e: frames.tasks[e]):
        episodes = list(of_task)
        if len(episodes) >= HELD_OUT_FROM and held_out.isdisjoint(episodes):
            held_out.add(episodes[0])
    return np.array(sorted(held_out))


def windows_of(run: Run) -> Windows:
    """The windows of a run, the same each time.

    Raises:
        DatasetError: there are no demonstrations.
        ConfigError: their actions are not as wide as the model's.
    """
    config = run.config
    rng = np.random.default_rng(run.seed)
    demonstrated = run.frames.demonstrated(config.cameras)
    samples = np.sort(demonstrated[rng.permutation(len(demonstrated))[: run.preset.windows]])
    tokens = choose_words(run, samples, np.random.default_rng(run.seed))
    actions = np.stack([run.frames.action(int(s), config.chunk_steps, config.action_encoding) for s in samples])
    if actions.shape[2] != config.action_width:
        raise ConfigError(
            f"model: got action_width {config.action_width}, expected {actions.shape[2]} for {config.action_encoding} of "
            f"the arm in {run.frames.folder}"
        )
    state = np.stack([run.frames.proprioception(int(s), in_joints=config.state_in_joints) for s in samples])
    statistics = Statistics.of(actions, state)
    state = (state - np.array(statistics.proprioception_mean)) / np.array(statistics.proprioception_std)
    return Windows(
        samples=samples,
        tokens=tokens,
        actions=torch.from_numpy(actions / np.array(statistics.action_scale)).float(),
        proprioception=torch.from_numpy(state.clip(-5, 5)).float(),
        statistics=statistics,
    )


def train_policy(run: Run) -> None:
    """Trains the stage and writes the checkpoint; the stage's own weights come last, and say that it is done."""
    torch.manual_seed(run.seed)
    forward = ForwardHalf(run.config, video=True)
    run.load("gfdm", forward)
    inverse = InverseHalf(run.config, forward.gfdm.feature_width)
    run.begin("policy", inverse)
    run.load("gidm", nn.ModuleDict({"gidm": inverse.gidm, "text": inverse.text}))
    run.freeze("policy", {"forward": forward, "inverse": inverse})
    windows = windows_of(run)
    live = any(p.requires_grad for p in forward.parameters())
    stored_bytes = 2 * len(windows.samples) * math.prod(forward.feature_shape)  # float16
    small = not live and stored_bytes <= STORED_AT_MOST_BYTES
    features = _stored_features(run, forward, windows) if small else _features(run, forward, windows, live)
    training, validation = windows.split(run.frames)

    def inputs(rows: np.ndarray) -> InverseInputs:
        device = parallel.device()
        return InverseInputs(features(rows), windows.tokens[rows].to(device), windows.proprioception[rows].to(device))

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        rows = np.sort(step.rng.choice(training, size=step.batch))[step.own]
        draws = run.preset.noise_draws
        noise, uniform = step.normal(draws, *windows.actions.shape[1:]), step.uniform(draws)
        return inverse.loss(inputs(rows), windows.actions[rows].to(step.device), uniform, noise), {}

    trained = nn.ModuleList([forward, inverse]) if live else inverse
    figures = run.train("policy", trained, loss, unused=live)
    inverse = parallel.gathered(inverse, lambda: InverseHalf(run.config, run.config.gfdm.feature_width))
    if live:
        forward = parallel.gathered(forward, lambda: ForwardHalf(run.config, video=True))
        features = _features(run, forward, windows, live)
    rows = validation[:: max(1, len(validation) // VALIDATED)]
    figures |= held_out(_acted(inverse, inputs, windows, rows), windows, rows, run.config.action_encoding)
    run.progress(f"held-out episodes: {figures}")
    if live:
        run.save(TRAINED_FORWARD, forward, {})
    if parallel.rank() == 0:
        _assemble(run, windows.statistics, run.weights(TRAINED_FORWARD if live else "gfdm"), inverse, figures)
    run.save("policy", inverse, figures)


def _stored_features(run: Run, forward: ForwardHalf, windows: Windows) -> Callable[[np.ndarray], Tensor]:
    stored = features_of(run, forward.eval(), windows.samples, windows.tokens)
    return lambda rows: torch.from_numpy(np.asarray(stored[rows])).to(parallel.device()).float()


def _features(run: Run, forward: ForwardHalf, windows: Windows, live: bool) -> Callable[[np.ndarray], Tensor]:
    """Computes features when they are needed, with gradient if the GFDM is trained."""
    latents = latents_of(run, forward.gfdm)
    forward = forward.to(parallel.device()).train(live)
    cameras = np.arange(len(run.config.cameras))

    def features(rows: np.ndarray) -> Tensor:
        present = np.asarray(latents[windows.samples[rows][:, None], cameras])
        with torch.set_grad_enabled(live and torch.is_grad_enabled()):
            words, mask = forward.gfdm.text(windows.tokens[rows].to(parallel.device()))[:2]
            return forward.from_latents(torch.from_numpy(present).to(parallel.device()).float(), words, mask)

    return features


def held_out(found: Tensor, windows: Windows, rows: np.ndarray, encoding: ActionEncoding) -> dict[str, float]:
    """Mean absolute errors of normalised actions `found`, (len(rows), steps, action width), by kind of number."""
    error = (found - windows.actions[rows]).abs().mean((0, 1)).numpy() * np.array(windows.statistics.action_scale)
    if encoding == "joint_positions":
        return {"held_out_joints_rad": float(error[:-1].mean())}
    return {"held_out_translation_mm": float(error[:3].mean() * 1e3), "held_out_rotation_rad": float(error[3:6].mean())}


def _acted(
    inverse: InverseHalf, inputs: Callable[[np.ndarray], InverseInputs], windows: Windows, rows: np.ndarray
) -> Tensor:
    """What the policy makes of some windows, normalised, (len(rows), steps, action width)."""
    shape = (len(rows), *windows.actions.shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(parallel.device())
    parts = zip(np.array_split(rows, 8), noise.tensor_split(8), strict=True)
    with torch.inference_mode():
        return torch.cat([inverse(inputs(some), draw) for some, draw in parts if len(some)]).cpu()


def _assemble(
    run: Run, statistics: Statistics, forward: Mapping[str, Tensor], inverse: nn.Module, own: Mapping[str, Any]
) -> None:
    figures: dict[str, Any] = {}
    for stage in run.preset.schedules:
        path = run.out / f"{stage}.figures.json"
        figures[stage] = json.loads(path.read_text()) if path.is_file() else None
    figures["policy"] = dict(own)
    with tempfile.TemporaryDirectory(prefix=".halved-", dir=run.out) as folder:
        write_checkpoint(
            run.out / "checkpoint",
            name=run.preset.name,
            arm=run.arm,
            config=run.config,
            weights=_halved(run, forward, inverse.state_dict(), Path(folder)) | tokenizer_files(run.config, run.out),
            statistics=statistics,
            provenance={
                "seed": run.seed,
                "episodes": len(run.frames.tasks),
                "samples": len(run.frames),
                "tasks": _shown(run),
                "frozen": {stage: list(parts) for stage, parts in run.preset.frozen.items()},
                "start": run.start and run.start.checkpoint.fingerprint,
                "torch": torch.__version__,
                "figures": figures,
            },
        )


def _shown(run: Run) -> list[str]:
    """The tasks of all demonstrations, those of the checkpoint it starts from included."""
    before = run.start.checkpoint.provenance.get("tasks", []) if run.start else []
    return sorted({*before, *(run.frames.tasks[episode] for episode in demonstrated_episodes(run.frames))})


def _halved(run: Run, forward: Mapping[str, Tensor], inverse: Mapping[str, Tensor], folder: Path) -> dict[str, Path]:
    """The files of a policy: float16, which it needs no more than; what only video needs in a file of its own."""
    needed = set(ForwardHalf(run.config).state_dict())
    halves: dict[str, dict[str, Tensor]] = {FORWARD: {}, VIDEO: {}, INVERSE: dict(inverse)}
    for name, tensor in forward.items():
        halves[FORWARD if name in needed else VIDEO][name] = tensor
    made = {file: folder / file for file, weights in halves.items() if weights}
    for file, path in made.items():
        save_file({name: tensor.cpu().half().contiguous() for name, tensor in halves[file].items()}, str(path))
    return made
