"""How the entangled baseline is trained, and how it drives: it borrows the run, the loop and the policy of DeFI."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from defi_models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from defi_models.config import DefiConfig
from defi_models.experiment.arms import ENTANGLED, labelled
from defi_models.experiment.entangled import Entangled, entangled_like, of_samples
from defi_models.inference.defi_policy import DefiPolicy
from defi_models.inference.engine import Float32Array, Words
from defi_models.models.defi import ForwardHalf, InverseHalf, count_parameters
from defi_models.training.policy_stage import VALIDATED, Windows, held_out, windows_of
from defi_models.training.run import Run
from defi_models.training.samples import choose_words, latents_of
from defi_models.training.step import Step

FILE = f"{ENTANGLED}.safetensors"


def trained_parameters(config: DefiConfig) -> int:
    """Parameters of both halves of DeFI without the autoencoder, which no arm trains."""
    forward = ForwardHalf(config, video=True)
    inverse = InverseHalf(config, forward.gfdm.feature_width)
    return count_parameters([forward, inverse]) - count_parameters([forward.gfdm.autoencoder])


def new_network(config: DefiConfig) -> Entangled:
    """The baseline for one DeFI, with fresh weights."""
    return entangled_like(config, trained_parameters(config))


class Batches:
    """What the baseline learns from: one half of a batch are windows with actions, the other half clips of all data.

    Args:
        run: The run, with its autoencoder.
        config: The run's model.
    """

    def __init__(self, run: Run, config: DefiConfig) -> None:
        forward = ForwardHalf(config, video=True)
        run.load("autoencoder", forward.gfdm.autoencoder)
        self._run, self._latents = run, latents_of(run, forward.gfdm)
        self._cameras = np.arange(len(config.cameras))
        self._offsets = np.arange(config.gfdm.frames) * config.gfdm.frame_steps
        self.windows = windows_of(run)
        self.training, self.validation = self.windows.split(run.frames)

    def clips(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """Latents of the frames from each sample on, (N, cameras, frames, C, h, w), and which cameras it has."""
        rows = self._run.frames.clip(samples, self._offsets)  # (N, frames)
        found = np.asarray(self._latents[rows[:, None], self._cameras[:, None]])
        return of_samples(found, self._run.frames.views_of(samples))

    def draw(self, step: Step) -> tuple[Tensor, ...]:
        """The arguments of `Entangled.loss` for one pass."""
        windows, count = self.windows, labelled(ENTANGLED, step.batch)
        rows = np.sort(step.rng.choice(self.training, size=count))
        others = self._run.frames.choose(step.rng, step.batch - count)
        samples = np.concatenate([windows.samples[rows], others])
        words = torch.cat([windows.tokens[rows], choose_words(self._run, others, step.rng)])
        padding = (0, 0, 0, len(others))
        state = nn.functional.pad(windows.proprioception[rows], padding)
        actions = nn.functional.pad(windows.actions[rows], (0, 0, *padding))
        has_actions = torch.arange(step.batch) < count
        own = step.own
        given = (*self.clips(samples[own]), words[own], state[own], actions[own], has_actions[own])
        return tuple(tensor.to(step.device) for tensor in given)


def train_entangled(run: Run, steps: int) -> dict[str, float]:
    """Trains the baseline for `steps` and writes its checkpoint; the figures."""
    config = run.config
    batches = Batches(run, config)
    torch.manual_seed(run.seed)
    network = new_network(config)
    figures = run.train("policy", network, lambda step: network.loss(*batches.draw(step)))
    assert figures["steps"] == steps, f"got {figures['steps']} steps, expected {steps}"
    figures |= validate(network.cpu(), batches)
    with tempfile.TemporaryDirectory(prefix=".made-", dir=run.out) as folder:
        weights = {f"autoencoder.{name}": tensor for name, tensor in run.weights("autoencoder").items()}
        weights |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, str(Path(folder) / FILE))
        write_checkpoint(
            run.out / "checkpoint",
            name=run.preset.name,
            arm=run.arm,
            config=config,
            weights={FILE: Path(folder) / FILE},
            statistics=batches.windows.statistics,
            provenance={"seed": run.seed, "kind": ENTANGLED, "figures": figures},
        )
    run.save("policy", network, figures)  # last: it says that the stage is done
    return figures


def validate(network: Entangled, batches: Batches) -> dict[str, float]:
    """Errors on held-out episodes, in the measures of stage 3."""
    windows: Windows = batches.windows
    rows = batches.validation[:: max(1, len(batches.validation) // VALIDATED)]
    found = []
    with torch.inference_mode():
        for some in np.array_split(rows, 8):
            if len(some):
                clips, seen = batches.clips(windows.samples[some])
                words = network.text(windows.tokens[some])[:2]
                found.append(network(clips[:, :, 0], seen, *words, windows.proprioception[some])[1])
    return held_out(torch.cat(found), windows, rows, network.config.action_encoding)


class EntangledEngine:
    """Runs the baseline as both engines of a `DefiPolicy`: its features are the latents of the present frames.

    Args:
        checkpoint: What `train_entangled` wrote.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        weights = load_file(str(checkpoint.weights(FILE)))
        parts = {
            part: {name.removeprefix(f"{part}."): w for name, w in weights.items() if name.startswith(f"{part}.")}
            for part in ("autoencoder", "network")
        }
        gfdm = ForwardHalf(checkpoint.config).gfdm
        self.feature_shape = (len(checkpoint.config.cameras), *gfdm.latent_shape)
        self._autoencoder = gfdm.autoencoder.eval()
        self._autoencoder.load_state_dict(parts["autoencoder"])
        self._network = new_network(checkpoint.config).eval()
        self._network.load_state_dict(parts["network"])

    @torch.inference_mode()
    def words(self, tokens: np.ndarray) -> Words:
        """See `InverseEngine.words`."""
        found = self._network.text(torch.from_numpy(tokens))
        return Words(found.words.numpy(), found.mask.numpy(), found.pooled.numpy())

    @torch.inference_mode()
    def features(self, pixels: Float32Array, words: Words) -> Float32Array:
        """Latents (cameras, C, h, w) of `pixels` (1, cameras, 3, H, W); the words are read when it acts."""
        return self._autoencoder.encode(torch.from_numpy(pixels[0])).numpy()

    def frames(self, features: Float32Array) -> Float32Array | None:
        """None: it makes its frames where it acts."""
        return None

    @torch.inference_mode()
    def actions(
        self,
        features: Float32Array,
        words: Words,
        proprioception: Float32Array,
        promised: Float32Array,
        weight: Float32Array,
    ) -> Float32Array:
        """See `InverseEngine.actions`; what was promised is not read."""
        latents = torch.from_numpy(features)[None]
        seen = torch.ones(latents.shape[:2], dtype=torch.bool)
        given = (torch.from_numpy(words.vectors), torch.from_numpy(words.mask), torch.from_numpy(proprioception))
        return self._network(latents, seen, *given)[1][0].numpy()


def load_entangled(folder: Path) -> DefiPolicy:
    """The baseline as a policy.

    Raises:
        CheckpointError: the folder is no such checkpoint.
    """
    checkpoint = read_checkpoint(folder)
    engine = EntangledEngine(checkpoint)
    return DefiPolicy(checkpoint, engine, engine, engine.feature_shape)
