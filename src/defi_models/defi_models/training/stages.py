"""The stages in order: autoencoder and GFDM on action-free video, GIDM self-supervised, then the coupled policy.

Each stage reads what the ones before left in the run's folder and leaves `<stage>.safetensors` and its figures.
What a stage leaves as it is, the preset says (`Preset.frozen`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from defi_models.models.autoencoder import Autoencoder
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.models.gidm import GidmPretraining
from defi_models.models.transformer import SpatioTemporalTransformer
from defi_models.training import parallel, pictures
from defi_models.training.losses import autoencoder_loss, gfdm_loss, gidm_loss
from defi_models.training.policy_stage import train_policy
from defi_models.training.run import Run
from defi_models.training.samples import choose_words, images_of, latents_of
from defi_models.training.state import TrainingError
from defi_models.training.step import Step

__all__ = ["STAGE_FUNCTIONS", "Run", "train_autoencoder", "train_gfdm", "train_gidm", "train_policy"]
RESTART_EVERY_STEPS = 100
RESTART_UNTIL = 0.7  # of the steps; after that the codes keep their meaning
DINO_ORIGIN = "put DINOv2's weights there: this preset's GIDM is pretrained over its features"
PICTURED = 4  # clips in a picture


def train_autoencoder(run: Run) -> None:
    """Stage 0: frames to latents; their scale is measured at the end.

    Raises:
        TrainingError: the preset's autoencoder is one that is not trained.
    """
    torch.manual_seed(run.seed)
    autoencoder = ForwardHalf(run.config).gfdm.autoencoder
    if not isinstance(autoencoder, Autoencoder):
        raise TrainingError(
            f"preset {run.preset.name!r}: its autoencoder is {type(autoencoder).__name__}, which is published and not trained "
            f"here: put its weights into {run.out / 'autoencoder.safetensors'} and go on with `defi train gfdm`"
        )
    model: Autoencoder = autoencoder
    run.begin("autoencoder", model)
    run.freeze("autoencoder", {"autoencoder": model})
    rng = np.random.default_rng(run.seed)
    rows = np.sort(run.frames.choose(rng, min(512, len(run.frames))))
    fixed = images_of(run.frames, rows, run.frames.choose_cameras(rng, rows))

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        rows = np.sort(run.frames.choose(step.rng, step.batch))
        cameras = run.frames.choose_cameras(step.rng, rows)
        return autoencoder_loss(model, images_of(run.frames, rows[step.own], cameras[step.own]).to(step.device), step)

    def drawn() -> dict[str, pictures.Picture]:
        shown = fixed[:: max(1, len(fixed) // 8)][:8].to(parallel.device())
        return {"rebuilt": pictures.rebuilt(shown, model.decode_clips(model.encode(shown)[:, None])[:, 0])}

    figures = run.train("autoencoder", model, loss, drawn)
    made = parallel.gathered(model, lambda: Autoencoder(model.config))
    with torch.no_grad():
        latents = made.moments(fixed.to(parallel.device()))[0]
        made.latent_scale.copy_(1.0 / latents.std())
    run.save("autoencoder", made, figures)


def train_gfdm(run: Run) -> None:
    """Stage 1: the frames to come, from video and instructions alone; no action is read."""
    torch.manual_seed(run.seed)
    forward = ForwardHalf(run.config, video=True)
    run.begin("gfdm", forward)
    run.load("autoencoder", forward.gfdm.autoencoder)
    run.freeze("gfdm", {"forward": forward})
    latents = latents_of(run, forward.gfdm)
    frames, gfdm = run.frames, forward.gfdm
    offsets = np.arange(run.config.gfdm.frames) * run.config.gfdm.frame_steps

    def clips_of(samples: np.ndarray, cameras: np.ndarray) -> Tensor:
        found = latents[frames.clip(samples, offsets), cameras[:, None]]
        return torch.from_numpy(found).to(parallel.device()).float()

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        samples = frames.choose(step.rng, step.batch)
        cameras = frames.choose_cameras(step.rng, samples)
        words = choose_words(run, samples, step.rng)[step.own].to(step.device)
        return gfdm_loss(gfdm, clips_of(samples[step.own], cameras[step.own]), words, step)

    def drawn() -> dict[str, pictures.Picture]:
        rng = np.random.default_rng(run.seed)
        samples = frames.choose(rng, PICTURED)
        words = choose_words(run, samples, rng).to(parallel.device())
        return {"imagined": pictures.imagined(gfdm, clips_of(samples, np.zeros(PICTURED, np.int64)), words)}

    run.save("gfdm", forward, run.train("gfdm", forward, loss, drawn))


class GidmStage(nn.Module):
    """What stage 2 trains, with the count of codes used, which a resumed run must know.

    Passes of a step put together what they find; codes are counted and moved once a step, alike in every process.

    Args:
        pretraining: The GIDM and its decoder.
        text: The words it reads.
    """

    usage: Tensor
    last_usage: Tensor

    def __init__(self, pretraining: GidmPretraining, text: nn.Module) -> None:
        super().__init__()
        self.pretraining = pretraining
        self.text = text
        self.register_buffer("usage", torch.zeros(pretraining.gidm.config.codes))
        self.register_buffer("last_usage", torch.zeros(pretraining.gidm.config.codes))
        self._codes: list[Tensor] = []
        self._found: list[tuple[slice, Tensor]] = []

    @property
    def used(self) -> int:
        """How many codes were used since the last restart, in the steps before this one."""
        return int((self.usage > 0).sum())

    def count(self, codes: Tensor, step: Step) -> None:
        """Takes the codes of one pass, and adds those of all passes with the last one."""
        self._codes.append(torch.bincount(codes.flatten(), minlength=len(self.usage)).to(self.usage))
        if step.last:
            self.usage.add_(parallel.sum_everywhere(torch.stack(self._codes).sum(0)))
            self._codes.clear()

    @torch.no_grad()
    def restart(self, patches: Tensor, words: Tensor, mask: Tensor, step: Step, *, move: bool) -> None:
        """Moves codes that were not used onto some of what the encoder finds in the whole batch, if `move`; counts anew.

        Every pass of the step calls this, after `count`; the last one moves.
        """
        gidm = self.pretraining.gidm
        if move:
            self._found.append((step.own, gidm.encode(self.pretraining.patch_in(patches), words, mask)[0]))
        if not step.last:
            return
        if move:
            found = torch.zeros(step.batch, *self._found[0][1].shape[1:], device=step.device)
            for own, values in self._found:
                found[own] = values.to(found)
            samples = parallel.sum_everywhere(found).flatten(0, 1)
            gidm.vq.restart_dead(self.usage, samples[step.rng.permutation(len(samples))])
        self._found.clear()
        self.last_usage.copy_(self.usage)
        self.usage.zero_()


def check_gidm(run: Run) -> None:
    """Refuses what this stage alone cannot do, before hours of the stages before it.

    Raises:
        TrainingError: FSDP is asked for, or the weights of DINOv2 are missing.
    """
    if parallel.spreads():
        raise TrainingError("gidm: got FSDP, expected DDP: this stage restarts dead codes in place, and is small")
    path = run.out / "dino.safetensors"
    if run.config.gidm.dino is not None and not path.is_file():
        raise TrainingError(f"{path} is missing: {DINO_ORIGIN}")


def train_gidm(run: Run) -> None:
    """Stage 2: latent actions between two real frames of the first camera; no action label is read.

    Raises:
        TrainingError: see `check_gidm`.
    """
    check_gidm(run)
    torch.manual_seed(run.seed)
    patches_of, patch_width = _patches(run)
    inverse = InverseHalf(run.config, run.config.gfdm.feature_width)
    trained = nn.ModuleDict({"gidm": inverse.gidm, "text": inverse.text})
    run.begin("gidm", trained)
    stage = GidmStage(GidmPretraining(inverse.gidm, patch_width), inverse.text)
    run.freeze("gidm", {"inverse": inverse, "pretraining": stage.pretraining})
    schedule = run.preset.schedules["gidm"]

    def loss(step: Step) -> tuple[Tensor, dict[str, float]]:
        samples = run.frames.choose(step.rng, step.batch)
        tokens = choose_words(run, samples, step.rng)[step.own].to(step.device)
        patches = patches_of(samples[step.own]).to(step.device)
        words, mask = inverse.text(tokens)[:2]
        value, figures, codes = gidm_loss(stage.pretraining, patches, words, mask)
        figures["codes_used"] = float(stage.used)
        stage.count(codes, step)
        if step.index % RESTART_EVERY_STEPS == RESTART_EVERY_STEPS - 1:
            stage.restart(patches, words, mask, step, move=step.index < schedule.steps * RESTART_UNTIL)
        return value, figures

    def drawn() -> dict[str, pictures.Picture]:
        usage = stage.usage if stage.usage.sum() > stage.last_usage.sum() else stage.last_usage
        return {"codes_used": pictures.codes_used(usage)}

    figures = run.train("gidm", stage, loss, drawn)
    run.save("gidm", trained, figures)


def _patches(run: Run) -> tuple[Callable[[np.ndarray], Tensor], int]:
    """Patch tokens (N, 2, tokens, width) of the present and the goal frame of samples, and their width."""
    config = run.config
    offsets = np.array([0, config.goal_frame * config.gfdm.frame_steps])
    if config.gidm.dino is not None:
        from defi_models.models.pretrained import Dino

        dino = Dino(config.gidm.dino).to(parallel.device())
        run.load("dino", dino, DINO_ORIGIN)

        def features_of(samples: np.ndarray) -> Tensor:
            rows = run.frames.clip(samples, offsets).ravel()
            images = images_of(run.frames, rows, np.zeros(len(rows), np.int64)).to(parallel.device())
            return dino(images).unflatten(0, (len(samples), 2))

        return features_of, config.gidm.dino.width
    forward = ForwardHalf(config)
    backbone = forward.gfdm.backbone
    if not isinstance(backbone, SpatioTemporalTransformer):
        raise TrainingError(
            f"gidm: got no DINOv2 for a {type(backbone).__name__}, expected `dino` in the preset's gidm"
        )
    run.load("autoencoder", forward.gfdm.autoencoder)
    latents = latents_of(run, forward.gfdm)

    def patches_of(samples: np.ndarray) -> Tensor:
        pairs = torch.from_numpy(np.asarray(latents[run.frames.clip(samples, offsets), 0])).float()
        return backbone.patches(pairs)

    return patches_of, config.autoencoder.latent_channels * config.gfdm.patch**2


STAGE_FUNCTIONS: dict[str, Callable[[Run], None]] = {
    "autoencoder": train_autoencoder,
    "gfdm": train_gfdm,
    "gidm": train_gidm,
    "policy": train_policy,
}
