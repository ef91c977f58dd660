"""The numbers that make one size of DeFI; a preset is a set of them. Needs no torch, so that a spec reads fast."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from defi_models.contract import ConfigError
from defi_models.published import DinoConfig, PretrainedTextConfig, SvdAutoencoderConfig, SvdConfig

POSE_ACTION_WIDTH = 7  # translation 3, rotation 3, gripper 1
PROPRIOCEPTION_WIDTH = 10  # position 3, first two columns of the rotation 6, gripper 1
ActionEncoding = Literal["relative_pose", "absolute_pose", "joint_positions", "accumulated_pose"]
ACTION_ENCODINGS: tuple[ActionEncoding, ...] = get_args(ActionEncoding)

# Least and most of the numbers that may be 0 or have an end; other whole numbers are 1 or more, others above 0.
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("proprioception_width", "motion", "registers", "modulation_offset"), (0, math.inf)),
    **dict.fromkeys(("dropout", "attention_dropout", "residual_dropout", "one_pass_fraction"), (0, 1)),
    "action_width": (2, math.inf),  # one joint and the gripper
}

# Fields that came later: a checkpoint without them gets their defaults, which keep it the model it was.
ADDED: Mapping[str, frozenset[str]] = {
    "GfdmConfig": frozenset({"one_pass_fraction"}),
    "GidmConfig": frozenset({"interleaved_positions", "dino"}),
    "DecoderConfig": frozenset(
        {"former_hidden", "language_hidden", "attention_dropout", "residual_dropout", "action_places", "initial_std"}
    ),
    "DefiConfig": frozenset({"action_encoding", "horizon_steps"}),
}


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
    """Size of the GFDM on the small spatio-temporal transformer.

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
        one_pass_fraction: Share of training clips at `sigma_max`, where features are taken.
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
    one_pass_fraction: float = 0.5

    @property
    def feature_width(self) -> int:
        """Width of a feature token: all feature blocks side by side."""
        return self.width * len(self.feature_blocks)


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
        interleaved_positions: Sines and cosines of a token's place alternate, as in UniVLA; else sines come first.
        dino: What it is pretrained over; the GFDM's latents if absent.
    """

    width: int = 128
    depth: int = 2
    heads: int = 4
    queries: int = 4
    codes: int = 16
    code_width: int = 32
    interleaved_positions: bool = False
    dino: DinoConfig | None = None


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
        dropout: After the denoiser's feed-forward layers, in training only.
        causal_context: Action i sees context tokens 0..i only, as in the paper's code (defi-model 4.3).
        modulation_offset: 0 as in the paper's code, 1 as usual (defi-model 6.3, 2).
        sigma_min: Smallest noise level of sampling.
        sigma_max: Largest noise level of sampling.
        sampling_steps: DDIM steps.
        sigma_data: Standard deviation of normalised actions.
        former_hidden: Width inside the video former's projection of features; `width` if absent.
        language_hidden: Width inside the projection of the language token; `width` if absent.
        attention_dropout: Of the denoiser's attention weights, in training only.
        residual_dropout: After the denoiser's attention, in training only.
        action_places: Whether actions carry a learned place.
        initial_std: Standard deviation of the denoiser's initial weights, whose biases start at 0; torch's own if absent.
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
    former_hidden: int | None = None
    language_hidden: int | None = None
    attention_dropout: float = 0.0
    residual_dropout: float = 0.05
    action_places: bool = True
    initial_std: float | None = None


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
        action_width: Numbers of one action; see `action_encoding`.
        proprioception_width: Numbers of the arm's state given to the decoder: 10 of the tool's pose and the gripper; those
            of an action where both are joints; 0 for none, as in the paper.
        action_encoding: What an action is. "relative_pose": translation, rotation vector and gripper, from the observed
            pose. "absolute_pose": the same from the base's origin and a tool that points down. "joint_positions": one
            number a joint, and the gripper. "accumulated_pose": CALVIN's steps of translation, Euler angles and gripper,
            each from the target before.
        horizon_steps: Actions carried out before the next chunk is wanted; the whole chunk if absent.
    """

    text: TextConfig | PretrainedTextConfig
    cameras: tuple[str, ...] = ("static", "wrist")
    autoencoder: AutoencoderConfig | SvdAutoencoderConfig = field(default_factory=AutoencoderConfig)
    gfdm: GfdmConfig | SvdConfig = field(default_factory=GfdmConfig)
    gidm: GidmConfig = field(default_factory=GidmConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    goal_frame: int = 2
    chunk_steps: int = 10
    step_ns: int = 100_000_000
    action_width: int = 7
    proprioception_width: int = PROPRIOCEPTION_WIDTH
    action_encoding: ActionEncoding = "relative_pose"
    horizon_steps: int | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_order(self)
        stages = isinstance(self.autoencoder, SvdAutoencoderConfig), isinstance(self.gfdm, SvdConfig)
        if stages[0] != stages[1]:
            raise ConfigError(
                f"model: got {type(self.gfdm).__name__} with {type(self.autoencoder).__name__}, "
                "expected the GFDM and its autoencoder both from SVD or both small"
            )
        cell = self.autoencoder.stride * (8 if isinstance(self.gfdm, SvdConfig) else self.gfdm.patch)
        if self.gfdm.image_size % cell:
            raise ConfigError(f"model: got images of {self.gfdm.image_size} px, expected a multiple of {cell} px")
        if not 0 < self.goal_frame < self.gfdm.frames:
            raise ConfigError(f"model: got goal_frame {self.goal_frame}, expected 1..{self.gfdm.frames - 1}")
        if self.action_encoding not in ACTION_ENCODINGS:
            raise ConfigError(
                f"model: got action_encoding {self.action_encoding!r}, expected one of {list(ACTION_ENCODINGS)}"
            )
        if self.action_encoding != "joint_positions" and self.action_width != POSE_ACTION_WIDTH:
            raise ConfigError(
                f"model: got {self.action_width} numbers an action, expected {POSE_ACTION_WIDTH} for {self.action_encoding}"
            )
        in_joints = [self.action_width] if self.action_encoding == "joint_positions" else []
        if self.proprioception_width not in (0, PROPRIOCEPTION_WIDTH, *in_joints):
            raise ConfigError(
                f"model: got proprioception_width {self.proprioception_width}, expected {PROPRIOCEPTION_WIDTH}"
                f"{''.join(f', {width} for joints' for width in in_joints)}, or 0 for none"
            )
        if self.horizon_steps is not None and not 1 <= self.horizon_steps <= self.chunk_steps:
            raise ConfigError(f"model: got horizon_steps {self.horizon_steps}, expected 1..{self.chunk_steps}")

    @property
    def state_in_joints(self) -> bool:
        """Whether the arm's state is told by its joints, and not by the pose of its tool."""
        return self.action_encoding == "joint_positions" and self.proprioception_width in (0, self.action_width)

    @property
    def state_width(self) -> int:
        """Numbers that tell the arm's state, whether the decoder is given them or not."""
        return self.action_width if self.state_in_joints else PROPRIOCEPTION_WIDTH

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """(cameras, frames, tokens, feature width) of one observation."""
        grid = self.gfdm.image_size // self.autoencoder.stride // self.gfdm.patch
        return len(self.cameras), self.gfdm.frames, grid**2, self.gfdm.feature_width


def _check_numbers(config: Any, of: str = "") -> None:
    """Refuses numbers that make no model, in all parts of a config; `of` is what names of its fields begin with."""
    for one in fields(config):
        value, name = getattr(config, one.name), f"{of}{one.name}"
        if is_dataclass(value):
            _check_numbers(value, f"{name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                _check_number(one.name, name, number, value)
    for kind in ("", "clip_", "t5_"):
        widths, heads = (getattr(config, f"{kind}{name}", None) for name in ("width", "heads"))
        widths = getattr(config, "channels", None) if widths is None else widths
        if heads is None or widths is None:
            continue
        pairs = zip(widths, heads, strict=True) if isinstance(heads, tuple) else ((widths, heads),)
        if any(width % count for width, count in pairs):
            raise ConfigError(f"model: got {of}{kind}heads {heads}, expected numbers that divide the width {widths}")


def _check_number(field_name: str, name: str, number: float, value: Any) -> None:
    least, most = RANGES.get(field_name, (1 if isinstance(number, int) else None, math.inf))
    if least is None and not 0.0 < number <= most:
        raise ConfigError(f"model: got {name} {value}, expected more than 0")
    if least is not None and not least <= number <= most:
        wanted = f"{least} or more" if most == math.inf else f"{least}..{most}"
        raise ConfigError(f"model: got {name} {value}, expected {wanted}")


def _check_order(config: DefiConfig) -> None:
    """Refuses what must be in an order, or there at all, and is not."""
    gfdm, decoder, cameras = config.gfdm, config.decoder, config.cameras
    if not cameras or "" in cameras or len(set(cameras)) < len(cameras):
        raise ConfigError(f"model: got cameras {list(cameras)}, expected names, each once, at least one")
    if isinstance(gfdm, GfdmConfig):
        blocks = gfdm.feature_blocks
        if not blocks or list(blocks) != sorted(set(blocks)) or blocks[-1] > gfdm.depth:
            raise ConfigError(
                f"model: got gfdm.feature_blocks {list(blocks)}, expected ascending numbers in 1..{gfdm.depth}, the depth"
            )
    if not config.autoencoder.channels:
        raise ConfigError("model: got autoencoder.channels [], expected at least one number")
    if decoder.sigma_min > decoder.sigma_max:
        raise ConfigError(
            f"model: got decoder.sigma_min {decoder.sigma_min:g}, expected at most sigma_max, {decoder.sigma_max:g}"
        )
