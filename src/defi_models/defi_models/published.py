"""Sizes of the published models that the paper's own is made of: Stable Video Diffusion, CLIP, T5, DINOv2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainedTextConfig:
    """Sizes of the paper's frozen text encoders (defi-model 2.2, 3.1, 4.3); the numbers are those of the public weights.

    CLIP reads the instruction for the GFDM and, pooled, for the action decoder; T5 reads it for the GIDM.

    Attributes:
        max_words: Tokens CLIP takes, with its two marks; shorter instructions are padded with the end mark.
        clip_vocabulary: CLIP's tokens; the last one marks the end.
        clip_positions: Places of CLIP's position table.
        clip_width: Width of a CLIP word vector, and of the pooled one.
        clip_depth: CLIP's layers.
        clip_heads: CLIP's attention heads.
        t5_vocabulary: T5's tokens.
        t5_max_words: Longest instruction in T5 tokens; the mask hides what is not used.
        t5_width: Width of a T5 word vector.
        t5_depth: T5's layers.
        t5_heads: T5's attention heads.
    """

    max_words: int = 20
    clip_vocabulary: int = 49_408
    clip_positions: int = 77
    clip_width: int = 512
    clip_depth: int = 12
    clip_heads: int = 8
    t5_vocabulary: int = 32_128
    t5_max_words: int = 64
    t5_width: int = 768
    t5_depth: int = 12
    t5_heads: int = 12


@dataclass(frozen=True)
class SvdAutoencoderConfig:
    """Size of Stable Video Diffusion's autoencoder (defi-model 2.1).

    Attributes:
        channels: Channels at full, half, quarter, ... resolution; one halving between neighbours.
        layers: Residual layers a resolution.
        latent_channels: Channels of a latent.
        latent_scale: Latents are multiplied by it.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    latent_channels: int = 4
    latent_scale: float = 0.18215

    @property
    def stride(self) -> int:
        """Pixels of the image per latent cell along an edge."""
        return 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class SvdConfig:
    """Size of the GFDM on Stable Video Diffusion's UNet (defi-model 2); features come from its first two up blocks.

    Attributes:
        image_size: Height and width of a frame [px].
        frames: Frames of a clip; frame 0 is the present.
        frame_steps: Time between frames, in steps of the data.
        channels: Channels at each of the four resolutions.
        heads: Attention heads at each.
        layers: Residual layers a resolution (one more on the way up).
        text_width: Width of the text the UNet attends to; CLIP's word vectors are repeated side by side to fill it.
        id_width: Width of the embedding of each of the three ids below.
        fps: First id, when features are taken or a clip is generated.
        training_fps: First id in training.
        motion: Second id; the third, the noise added to the image, is 0.
        sigma_max: Largest noise level.
        one_pass_fraction: Share of training clips at `sigma_max`, where features are taken; none in the paper.
    """

    image_size: int = 256
    frames: int = 16
    frame_steps: int = 2
    channels: tuple[int, int, int, int] = (320, 640, 1280, 1280)
    heads: tuple[int, int, int, int] = (5, 10, 20, 20)
    layers: int = 2
    text_width: int = 1024
    id_width: int = 256
    fps: int = 4
    training_fps: int = 7
    motion: int = 127
    sigma_max: float = 700.0
    one_pass_fraction: float = 0.0

    @property
    def patch(self) -> int:
        """Latent cells along the edge of a feature token: the second up block works at half the latents' resolution."""
        return 2

    @property
    def feature_width(self) -> int:
        """Width of a feature token: both up blocks side by side."""
        return self.channels[3] + self.channels[2]


@dataclass(frozen=True)
class DinoConfig:
    """Size of DINOv2 with registers, over whose features the GIDM is pretrained (defi-model 3.1).

    Attributes:
        image_size: Height and width of its input [px].
        patch: Pixels along the edge of a patch.
        table_size: Height and width its position table was made for [px].
        width: Width of a patch feature.
        depth: Layers.
        heads: Attention heads.
        registers: Register tokens.
    """

    image_size: int = 224
    patch: int = 14
    table_size: int = 518
    width: int = 768
    depth: int = 12
    heads: int = 12
    registers: int = 4
