"""What each stage minimises; every function takes one pass's samples and returns the loss and figures to plot."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from defi_models.models.autoencoder import Autoencoder
from defi_models.models.gfdm import Gfdm
from defi_models.models.gidm import GidmPretraining
from defi_models.training.step import Step

KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5
TEXT_DROP = 0.05  # clips trained without text (defi-model 2.3)

Figures = dict[str, float]


def autoencoder_loss(model: Autoencoder, images: Tensor, step: Step) -> tuple[Tensor, Figures]:
    """Absolute error of pixels and of their gradients (small parts count) + KL, for `images` (N, 3, H, W) in -1..1."""
    mean, log_variance = model.moments(images)
    noise = step.normal(*mean.shape[1:])
    rebuilt = model.decoder(mean + noise * (0.5 * log_variance).exp())
    pixels = F.l1_loss(rebuilt, images)
    edges = F.l1_loss(rebuilt.diff(dim=-1), images.diff(dim=-1)) + F.l1_loss(rebuilt.diff(dim=-2), images.diff(dim=-2))
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return pixels + EDGE_WEIGHT * edges + KL_WEIGHT * kl, {"pixels": pixels.item(), "kl": kl.item()}


def gfdm_loss(model: Gfdm, clips: Tensor, words: Tensor, step: Step) -> tuple[Tensor, Figures]:
    """The EDM loss on `clips` of latents (N, frames, C, h, w), whose first frame is given, for token ids (N, L).

    Noise levels follow ln sigma = 0.7 + 1.6 n (defi-model 2.3); `one_pass_fraction` of the clips get `sigma_max` itself,
    so that the one pass the policy uses is well trained within a small budget. Figures are of those clips, or of all.
    """
    sigma = (0.7 + 1.6 * step.normal()).exp()
    one_pass = step.uniform() < model.config.one_pass_fraction
    sigma = torch.where(one_pass, torch.full_like(sigma, model.config.sigma_max), sigma)
    s = sigma[:, None, None, None, None]
    noisy = clips + s * step.normal(*clips.shape[1:])
    vectors, mask, _ = model.text(words)
    kept = step.uniform() >= TEXT_DROP
    clean = model.denoise(noisy, sigma, clips[:, 0], vectors * kept[:, None, None], mask)
    error = (clean - clips).square()
    each = error.flatten(1).mean(1)
    loss = (each * (sigma**2 + 1) / sigma**2).mean()
    shown = one_pass if one_pass.any() else ~one_pass
    return loss, {
        "one_pass_mse": each[shown].mean().item(),
        "last_frame_mse": error[shown, -1].mean().item(),
        "still_mse": (clips[:, :1] - clips).square()[shown, 1:].mean().item(),
    }


def gidm_loss(model: GidmPretraining, pairs: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Figures, Tensor]:
    """Rebuilding error + codebook losses for patch tokens `pairs` (N, 2, tokens, width); also the codes used."""
    rebuilt, actions = model(pairs, words, mask)
    error = F.mse_loss(rebuilt, pairs[:, 1])
    still = F.mse_loss(pairs[:, 0], pairs[:, 1])
    return error + actions.loss, {"mse": error.item(), "still_mse": still.item()}, actions.indices
