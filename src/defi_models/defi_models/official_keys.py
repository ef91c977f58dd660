"""Names of the weights in the paper's policy checkpoint, and how they become those of `InverseHalf` (defi-model 6.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from defi_models.contract import CheckpointError

VIDEO_FORMER, GIDM, DENOISER = "Video_Former.", "lam.", "model.inner_model."
CLIP, OPENAI_CLIP = "TVP_encoder.text_encoder.", "language_goal.clip_rn50."
PARTS_OF_THREE = "qkv"  # rows of a fused projection, in this order
FUSED, OPENAI_FUSED = r"\.temporal\.to_([qkv])\.", r"\.self_attn\.([qkv])_proj\."  # weights that come out of one

# Our name -> the official name. Every name of ours matches exactly one rule.
RULES: tuple[tuple[str, str], ...] = (
    (r"video_former\.layers\.(\d+)\.(norm_media|norm_latents)\.(.+)", rf"{VIDEO_FORMER}layers.\1.0.\2.\3"),
    (r"video_former\.layers\.(\d+)\.perceive\.(.+)", rf"{VIDEO_FORMER}layers.\1.0.\2"),
    (r"video_former\.layers\.(\d+)\.temporal\.to_[qkv]\.(.+)", rf"{VIDEO_FORMER}layers.\1.1.qkv.\2"),
    (r"video_former\.layers\.(\d+)\.temporal\.to_out\.(.+)", rf"{VIDEO_FORMER}layers.\1.1.proj.\2"),
    (r"video_former\.layers\.(\d+)\.norm_forward\.(.+)", rf"{VIDEO_FORMER}layers.\1.2.0.\2"),
    (r"video_former\.layers\.(\d+)\.forward_layer\.expand\.(.+)", rf"{VIDEO_FORMER}layers.\1.2.1.\2"),
    (r"video_former\.layers\.(\d+)\.forward_layer\.contract\.(.+)", rf"{VIDEO_FORMER}layers.\1.2.3.\2"),
    (r"video_former\.((?:latents|time_pos_emb|goal_emb|norm)\b.*)", rf"{VIDEO_FORMER}\1"),
    (r"(goal_emb\..+|time_pos_emb)", r"\1"),
    (r"gidm\.stem\.body\.(.+)", rf"{GIDM}encoder.ffn.\1"),
    (r"gidm\.blocks\.(\d+)\.(\w+_attn)\.to_out\.(.+)", rf"{GIDM}encoder.transformer_blocks.\1.\2.to_out.0.\3"),
    (r"gidm\.blocks\.(\d+)\.ffn\.expand\.(.+)", rf"{GIDM}encoder.transformer_blocks.\1.ffn.0.\2"),
    (r"gidm\.blocks\.(\d+)\.ffn\.contract\.(.+)", rf"{GIDM}encoder.transformer_blocks.\1.ffn.3.\2"),
    (r"gidm\.blocks\.(\d+)\.((?:\w+_attn\.to_[qkv]|norm[123])\..+)", rf"{GIDM}encoder.transformer_blocks.\1.\2"),
    (r"gidm\.((?:action_latent|to_codebook|vq|action_up|lang_proj)\b.*)", rf"{GIDM}\1"),
    (r"text\.t5\.(.+)", rf"{GIDM}text_encoder.encoder.\1"),
    (r"text\.clip_text\.clip\.(.+)", rf"{CLIP}\1"),
    (r"((?:lang_emb|tok_emb|tok_emb_token)\..+)", rf"{DENOISER}\1"),
    (r"denoiser\.(encoder|decoder)\.(\d+)\.norm([12])\.(.+)", rf"{DENOISER}\1.blocks.\2.ln_\3.\4"),
    (r"denoiser\.decoder\.(\d+)\.norm3\.(.+)", rf"{DENOISER}decoder.blocks.\1.ln3.\2"),
    (r"denoiser\.(encoder|decoder)\.(\d+)\.attention\.to_(\w+)\.(.+)", rf"{DENOISER}\1.blocks.\2.attn.to_\3.\4"),
    (r"denoiser\.decoder\.(\d+)\.cross\.to_(\w+)\.(.+)", rf"{DENOISER}decoder.blocks.\1.cross_att.to_\2.\3"),
    (r"denoiser\.(encoder|decoder)\.(\d+)\.mlp\.expand\.(.+)", rf"{DENOISER}\1.blocks.\2.mlp.c_fc.\3"),
    (r"denoiser\.(encoder|decoder)\.(\d+)\.mlp\.contract\.(.+)", rf"{DENOISER}\1.blocks.\2.mlp.c_proj.\3"),
    (r"denoiser\.decoder\.(\d+)\.modulation\.(.+)", rf"{DENOISER}decoder.blocks.\1.adaLN_zero.modulation.\2"),
    (r"denoiser\.(encoder|decoder)_norm\.(.+)", rf"{DENOISER}\1.ln.\2"),
    (r"denoiser\.sigma_emb\.0\.(.+)", rf"{DENOISER}sigma_emb.1.\1"),
    (r"denoiser\.sigma_emb\.2\.(.+)", rf"{DENOISER}sigma_emb.3.\1"),
    (r"denoiser\.(action_emb|action_pred)\.(.+)", rf"{DENOISER}\1.\2"),
)
ATTENTION_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.": ".c_proj."}

# There, and never used by the paper's code (defi-model 6.3, 13), or the image half of a CLIP of which only text is read.
UNUSED = re.compile(
    rf"{re.escape(DENOISER)}(pos_emb|goal_emb\..+|proprio_emb\..+)|{re.escape(OPENAI_CLIP)}(visual\..+|logit_scale)"
)
# Tensors that hold no weight: places 0, 1, 2, ... which older versions of transformers saved.
PLACES = re.compile(r".*\.position_ids")


def official_name(name: str) -> str:
    """The official name of our weight `name` of an `InverseHalf`.

    Raises:
        CheckpointError: no rule knows it.
    """
    for pattern, replacement in RULES:
        match = re.fullmatch(pattern, name)
        if match:
            found = match.expand(replacement)
            if found.startswith(DENOISER):
                for ours, theirs in ATTENTION_NAMES.items():
                    found = found.replace(ours, theirs)
            return found
    raise CheckpointError(f"weight {name}: got no official name for it, expected one of the base model's inverse half")


def openai_name(name: str) -> str | None:
    """The name in OpenAI's CLIP of a weight of Hugging Face's CLIP text encoder; None if it has another layout there."""
    layer = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)", name)
    if layer:
        inner = layer[2]
        for theirs, openai in (
            ("self_attn.out_proj", "attn.out_proj"),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
        ):
            if inner.startswith(theirs):
                return f"transformer.resblocks.{layer[1]}.{openai}{inner.removeprefix(theirs)}"
        part = re.fullmatch(r"self_attn\.[qkv]_proj\.(weight|bias)", inner)
        return f"transformer.resblocks.{layer[1]}.attn.in_proj_{part[1]}" if part else None
    return {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
        "text_projection.weight": "text_projection",
    }.get(name)


def third(pattern: str, name: str, tensor: Tensor) -> Tensor:
    """The rows of a fused `tensor` (3 * width, ...) for the letter that `pattern` finds in `name`; all of it without one."""
    letter = re.search(pattern, name)
    return tensor if letter is None else tensor.chunk(3)[PARTS_OF_THREE.index(letter[1])]


def from_official(given: Mapping[Any, Any], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The weights of an `InverseHalf` out of the "model" of an official policy checkpoint.

    Frozen copies of the same public weights are compared and dropped, as is what the official code never uses.

    Args:
        given: Official name -> tensor, as the file holds them.
        shapes: Shape of each weight of the `InverseHalf`.

    Raises:
        CheckpointError: names are missing or unexpected, shapes differ, weights are none, or copies differ; all of them
            are listed.
    """
    state = {name: tensor for name, tensor in given.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    wanted = {name: official_name(name) for name in shapes}
    copies = _copies(state, shapes)
    known = {*wanted.values(), *copies}
    faults = [f"missing: {name}" for name in sorted(set(wanted.values()) - set(given))]
    faults += [
        f"no tensor: {name!r} is {type(given[name]).__name__}" for name in sorted(set(given) - set(state), key=str)
    ]
    faults += [
        f"unexpected: {name}"
        for name in sorted(set(state) - known)
        if not UNUSED.fullmatch(name) and not PLACES.fullmatch(name)
    ]
    found = {name: third(FUSED, name, state[theirs]) for name, theirs in wanted.items() if theirs in state}
    faults += [
        f"shape: {wanted[name]} is {tuple(tensor.shape)} instead of {tuple(shapes[name])}"
        for name, tensor in sorted(found.items())
        if tensor.shape != shapes[name]
    ]
    faults += no_weights({name: state[name] for name in sorted(set(wanted.values()) & set(state))})
    faults += [f"copies differ: {copy} and {original}" for copy, (original, same) in sorted(copies.items()) if not same]
    if faults:
        raise CheckpointError(
            f"official checkpoint: got {len(faults)} differences from the policy of the paper, expected none:\n  - "
            + "\n  - ".join(faults)
        )
    # Own memory: what is split from a fused tensor would else keep all of it.
    return {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}


def no_weights(found: Mapping[str, Tensor]) -> list[str]:
    """The tensors that are no weights, with the reason: whole numbers, or numbers that are not finite."""
    return [
        f"not finite: {name}" if tensor.is_floating_point() else f"kind: {name} is {tensor.dtype} instead of a float"
        for name, tensor in found.items()
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all()
    ]


def _copies(state: Mapping[str, Tensor], shapes: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Redundant official name -> (the name it is a copy of, whether it is one)."""
    found: dict[str, tuple[str, bool]] = {}

    def compare(copy: str, original: str, copied: Tensor) -> None:
        kept = state.get(original)
        same = kept is not None and kept.shape == copied.shape and _close(kept, copied)
        found[copy] = original, same and found.get(copy, ("", True))[1]

    shared, embedding = f"{GIDM}text_encoder.shared.weight", f"{GIDM}text_encoder.encoder.embed_tokens.weight"
    if shared in state:
        compare(shared, embedding, state[shared])
    for name in shapes:
        theirs = official_name(name)
        openai = openai_name(theirs.removeprefix(CLIP)) if theirs.startswith(CLIP) else None
        copy = f"{OPENAI_CLIP}{openai}"
        if openai is not None and copy in state:
            tensor = third(OPENAI_FUSED, theirs, state[copy])
            compare(copy, theirs, tensor.T if openai == "text_projection" else tensor)
    return found


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether two copies are the same up to float16, in which one of them may have been kept."""
    return torch.allclose(a.half().float(), b.half().float(), rtol=2e-3, atol=1e-6)
