"""What a model consists of: parameters and floating-point operations of each part, computed on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO
from defi_models.config import DefiConfig, PretrainedTextConfig
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.models.gidm import GidmPretraining
from defi_models.models.text import needs_base

IMAGINATION, ACTION, NOBODY = "imagination_node", "action_node", "no node"
CHUNK, INSTRUCTION, VIDEO_ONLY, PRETRAINING = "a chunk", "an instruction", "a video", "pretraining"
WORDS_COUNTED = 14  # T5 tokens of an instruction of usual length; operations of what reads it grow with them
BATCHED_PRODUCT = torch.ops.aten.bmm  # what attention is on tensors without values


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: What it is.
        file: The file of a checkpoint its weights lie in; empty for what only training has.
        node: The node that loads it.
        once: How often it runs: once a chunk, an instruction, a video, or in pretraining only.
        parameters: Number of its weights.
        gigaflop: Operations of one inference, two for each multiply-add, attention included [1e9].
        attention_gigaflop: Those of them between queries, keys and values [1e9]; counters that overlook them exist.
    """

    name: str
    file: str
    node: str
    once: str
    parameters: int
    gigaflop: float
    attention_gigaflop: float


def parts(config: DefiConfig) -> list[Part]:
    """Every part of a model; nothing is allocated, so the largest is counted in seconds."""
    with on_meta():
        full, lean = ForwardHalf(config, video=True), ForwardHalf(config)
        inverse = InverseHalf(config, config.gfdm.feature_width)
    for module in (full, lean, inverse):
        module.to("meta").requires_grad_(False).eval()
    return [*_forward_parts(config, full, lean), *_inverse_parts(config, inverse), *_pretraining_parts(config, inverse)]


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules made inside have shapes and no values."""
    with torch.device("meta"):
        yield


def count(*modules: nn.Module | nn.Parameter | None) -> int:
    """Weights of the modules that are there."""
    found = [m for m in modules if m is not None]
    return sum(m.numel() if isinstance(m, nn.Parameter) else sum(p.numel() for p in m.parameters()) for m in found)


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def _operations(*calls: Callable[[], Any]) -> tuple[float, float]:
    """All operations of `calls`, and those of attention [1e9]."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for call in calls:
            call()
    attention = counter.get_flop_counts().get("Global", {}).get(BATCHED_PRODUCT, 0)
    return counter.get_total_flops() / 1e9, attention / 1e9


def _tokens(config: DefiConfig) -> Tensor:
    pretrained = isinstance(config.text, PretrainedTextConfig)
    return _empty(1, config.text.max_words + (WORDS_COUNTED if pretrained else 0), dtype=torch.int64)


def _forward_parts(config: DefiConfig, full: ForwardHalf, lean: ForwardHalf) -> list[Part]:
    cameras, size, gfdm = len(config.cameras), config.gfdm.image_size, full.gfdm
    images = _empty(cameras, 3, size, size)
    latents = _empty(cameras, *gfdm.latent_shape)
    clips = _empty(cameras, config.gfdm.frames, *gfdm.latent_shape)
    words = _empty(cameras, config.text.max_words, gfdm.text.width)
    mask = _empty(cameras, config.text.max_words, dtype=torch.bool)
    level = _empty(cameras)

    def part(name: str, file: str, once: str, parameters: int, *calls: Callable[[], Any]) -> Part:
        node = IMAGINATION if file == FORWARD else NOBODY
        return Part(name, file, node, once, parameters, *_operations(*calls))

    rest = count(gfdm.backbone) - count(lean.gfdm.backbone)
    decoder = count(gfdm.autoencoder.decoder)
    file = VIDEO if rest else FORWARD  # SVD's video-only weights lie in a file of their own
    return [
        part("GFDM text encoder", FORWARD, INSTRUCTION, count(gfdm.text), lambda: gfdm.text(_tokens(config))),
        part(
            "image encoder",
            FORWARD,
            CHUNK,
            count(gfdm.autoencoder) - decoder,
            lambda: gfdm.autoencoder.encode(images),
        ),
        part(
            "GFDM backbone, to its features",
            FORWARD,
            CHUNK,
            count(lean.gfdm.backbone),
            lambda: lean.gfdm.features(latents, words, mask),
        ),
        part(
            "GFDM backbone, a whole step of a video",
            file,
            VIDEO_ONLY,
            rest,
            lambda: gfdm.backbone.predict(clips, level, latents, words, mask),
        ),
        part("image decoder", file, VIDEO_ONLY, decoder, lambda: gfdm.autoencoder.decode_clips(clips)),
    ]


def _inverse_parts(config: DefiConfig, inverse: InverseHalf) -> list[Part]:
    cameras, frames, tokens, width = config.feature_shape
    text = inverse.text(_tokens(config))
    pair = _empty(1, 2, tokens, config.gidm.width)
    features, state = _empty(1, cameras, frames, tokens, width), _empty(1, config.proprioception_width)
    context = inverse.context(features, text.words, text.mask, text.pooled, state)[0]
    denoiser, steps = inverse.denoiser, config.decoder.sampling_steps
    read = denoiser.read(context)
    noisy, sigma = _empty(1, config.chunk_steps, config.action_width), _empty(1)
    into_context = (inverse.lang_emb, inverse.tok_emb, inverse.tok_emb_token, inverse.proprio_emb)

    def part(name: str, once: str, parameters: int, *calls: Callable[[], Any]) -> Part:
        return Part(name, INVERSE, ACTION, once, parameters, *_operations(*calls))

    def project() -> None:
        inverse.lang_emb(text.pooled)
        inverse.tok_emb(_empty(1, frames * config.decoder.former_queries, config.decoder.width))
        inverse.tok_emb_token(_empty(1, config.gidm.queries, config.gidm.width))

    return [
        part("inverse text encoders", INSTRUCTION, count(inverse.text), lambda: inverse.text(_tokens(config))),
        part(
            "features into the GIDM",
            CHUNK,
            count(inverse.goal_emb, inverse.time_pos_emb),
            lambda: inverse.goal_emb(_empty(1, 2, tokens, width)),
        ),
        part("GIDM", CHUNK, count(inverse.gidm), lambda: inverse.gidm(pair, *text[:2])),
        part(
            "video former",
            CHUNK,
            count(inverse.video_former),
            lambda: inverse.video_former(_empty(1, frames, cameras * tokens, width)),
        ),
        part(
            "denoiser, its context",
            CHUNK,
            count(*into_context, denoiser.encoder, denoiser.encoder_norm),
            project,
            lambda: denoiser.read(context),
        ),
        part(
            f"denoiser, {steps} steps",
            CHUNK,
            count(denoiser) - count(denoiser.encoder, denoiser.encoder_norm),
            *[lambda: denoiser.denoise(noisy, sigma, read)] * steps,
        ),
    ]


def _pretraining_parts(config: DefiConfig, inverse: InverseHalf) -> list[Part]:
    def part(name: str, parameters: int, call: Callable[[], Any]) -> Part:
        return Part(name, "", NOBODY, PRETRAINING, parameters, *_operations(call))

    found = []
    patch_width = config.autoencoder.latent_channels * config.gfdm.patch**2
    patches = config.feature_shape[2]
    if config.gidm.dino is not None:
        with needs_base("DINOv2"), on_meta():
            from defi_models.models.pretrained import Dino

            dino = Dino(config.gidm.dino).to("meta")
        size = config.gidm.dino.image_size
        patch_width, patches = config.gidm.dino.width, (size // config.gidm.dino.patch) ** 2
        found.append(part("DINOv2", count(dino), lambda: dino(_empty(2, 3, size, size))))
    with on_meta():
        pretraining = GidmPretraining(inverse.gidm, patch_width)
    pretraining.to("meta").requires_grad_(False).eval()
    words, mask, _ = inverse.text(_tokens(config))
    pair = _empty(1, 2, patches, patch_width)
    rebuilding = count(pretraining) - count(inverse.gidm)
    return [*found, part("GIDM with the decoder it learns by", rebuilding, lambda: pretraining(pair, words, mask))]
