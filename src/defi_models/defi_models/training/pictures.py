"""What a model in training makes of fixed data, as pictures for people: imagined frames beside real ones, codes used."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from defi_models.models.gfdm import Gfdm
from defi_models.training.watch import Picture
from defi_models.transforms import ImageTransform

IMAGINE_STEPS = 8
GAP_PX = 2
BAR_WIDTH_PX, BAR_HEIGHT_PX = 24, 160
INK, PAPER = (40, 90, 160), 255


def grid(rows: list[Tensor]) -> Picture:
    """Clips (frames, 3, H, W) in -1..1 one below the other, frames side by side."""
    lines = []
    for clip in rows:
        images = ImageTransform.decode(clip.float().cpu().numpy())  # (frames, H, W, 3)
        padded = np.pad(images, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=PAPER)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines, axis=0)


def imagined(gfdm: Gfdm, clips: Tensor, words: Tensor) -> Picture:
    """Clips of latents (N, frames, C, h, w) as they were, each above what the model imagines of its first frame."""
    vectors, mask, _ = gfdm.text(words)
    generator = torch.Generator().manual_seed(0)
    made = gfdm.generate(clips[:, 0], vectors, mask, IMAGINE_STEPS, generator)
    real = gfdm.autoencoder.decode_clips(clips)
    return grid([clip for pair in zip(real, made, strict=True) for clip in pair])


def rebuilt(images: Tensor, again: Tensor) -> Picture:
    """Images (N, 3, H, W) in -1..1 above what the autoencoder makes of them."""
    return grid([images, again])


def codes_used(usage: Tensor) -> Picture:
    """A bar for each code, as high as its share of all uses; the highest fills the picture."""
    share = usage.float().cpu().numpy()
    share = share / max(share.max(), 1.0)
    picture = np.full((BAR_HEIGHT_PX + 20, BAR_WIDTH_PX * len(share), 3), PAPER, np.uint8)
    for code, height in enumerate(share):
        left = code * BAR_WIDTH_PX
        top = BAR_HEIGHT_PX - round(BAR_HEIGHT_PX * float(height))
        picture[top:BAR_HEIGHT_PX, left + 2 : left + BAR_WIDTH_PX - 2] = INK
        cv2.putText(picture, str(code), (left + 3, BAR_HEIGHT_PX + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0))
    return picture
