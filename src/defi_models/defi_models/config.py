"""The numbers that make one size of DeFI; a preset is a set of them. Needs no torch, so that a spec reads fast."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextConfig:
    """Size of a text encoder.

    Attributes:
        words: The vocabulary; index i of `words` has token i + 2 (0 pads, 1 is any other word).
        max_words: Longest instruction it takes.
        width: Width of a word's vector.
        depth: Transformer layers.
        heads: Attention heads.
    """

    words: tuple[str, ...]
    max_words: int = 12
    width: int = 64
    depth: int = 1
    heads: int = 4


@dataclass(frozen=True)
class AutoencoderConfig:
    """Size of the autoencoder.

    Attributes:
        channels: Channels at full, half, quarter, ... resolution; one halving between neighbours and one before the first.
        latent_channels: Channels of a latent.
    """

    channels: tuple[int, ...] = (16, 48, 96)
    latent_channels: int = 4

    @property
    def stride(self) -> int:
        """Pixels of the image per latent cell along an edge."""
        return 2 ** len(self.channels)


@dataclass(frozen=True)
class GfdmConfig:
    """Size of the GFDM.

    Attributes:
        image_size: Height and width of a frame [px].
        frames: Frames of a clip; frame 0 is the present.
        frame_steps: Time between frames, in steps of the data.
        patch: Latent cells along the edge of a token.
        width: Width of a token.
        depth: Blocks.
        heads: Attention heads.
        feature_blocks: Blocks after which features are taken (counted from 1), concatenated on the width.
        sigma_max: Largest noise level; 700 in SVD's schedule.
    """

    image_size: int = 96
    frames: int = 3
    frame_steps: int = 4
    patch: int = 2
    width: int = 128
    depth: int = 4
    heads: int = 4
    feature_blocks: tuple[int, ...] = (2, 4)
    sigma_max: float = 700.0


@dataclass(frozen=True)
class GidmConfig:
    """Size of the GIDM.

    Attributes:
        width: Width of a token.
        depth: Blocks of the encoder, and of the decoder in pretraining.
        heads: Attention heads.
        queries: Latent action tokens between two frames.
        codes: Codebook entries.
        code_width: Width of a codebook entry.
    """

    width: int = 128
    depth: int = 2
    heads: int = 4
    queries: int = 4
    codes: int = 16
    code_width: int = 32


@dataclass(frozen=True)
class DecoderConfig:
    """Size of the video former and of the action denoiser.

    Attributes:
        width: Width of a token.
        heads: Attention heads.
        former_depth: Layers of the video former.
        former_queries: Video tokens a frame.
        former_head_width: Width of a head in the video former's Perceiver attention.
        encoder_depth: Layers that mix the context.
        decoder_depth: Layers that denoise.
        dropout: In the denoiser's feed-forward layers, in training only.
        causal_context: Action i sees context tokens 0..i only, as in the paper's code (defi-model 4.3).
        modulation_offset: 0 as in the paper's code, 1 as usual (defi-model 6.3, 2).
        sigma_min: Smallest noise level of sampling.
        sigma_max: Largest noise level of sampling.
        sampling_steps: DDIM steps.
        sigma_data: Standard deviation of normalised actions.
    """

    width: int = 128
    heads: int = 4
    former_depth: int = 2
    former_queries: int = 6
    former_head_width: int = 32
    encoder_depth: int = 2
    decoder_depth: int = 3
    dropout: float = 0.05
    causal_context: bool = False
    modulation_offset: float = 1.0
    sigma_min: float = 1.0
    sigma_max: float = 80.0
    sampling_steps: int = 10
    sigma_data: float = 0.5


@dataclass(frozen=True)
class DefiConfig:
    """Everything that makes one size of DeFI; a preset is a set of these numbers.

    Attributes:
        cameras: Cameras in the order of the features; the GIDM sees the first one only.
        text: The text encoders (one for each half that reads words).
        autoencoder: Frames to latents.
        gfdm: Forward dynamics.
        gidm: Inverse dynamics.
        decoder: Video former and action denoiser.
        goal_frame: The imagined frame the GIDM compares with frame 0.
        chunk_steps: Actions of a chunk.
        step_ns: Time between actions [ns].
        action_width: Numbers of one action: 3 translation, 3 rotation, 1 gripper.
        proprioception_width: Numbers of the arm's state given to the decoder; 0 for none, as in the paper.
    """

    text: TextConfig
    cameras: tuple[str, ...] = ("static", "wrist")
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    gfdm: GfdmConfig = field(default_factory=GfdmConfig)
    gidm: GidmConfig = field(default_factory=GidmConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    goal_frame: int = 2
    chunk_steps: int = 10
    step_ns: int = 100_000_000
    action_width: int = 7
    proprioception_width: int = 10
