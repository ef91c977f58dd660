"""The paper's checkpoints: converted into exactly these modules, or refused with everything that is wrong."""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from reference import Reference
from safetensors.torch import load_file, save_file
from tiny import BASE_TEXT, halves, tiny_base_config, tiny_tokenizers
from torch import Tensor

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO
from defi_models.cli import main
from defi_models.contract import CheckpointError, ConfigError
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER

pytest.importorskip("diffusers", reason="the extra `base` is not installed: requirements/base.txt")
from defi_models.official import Sources, import_official, read_torch
from defi_models.official_keys import CLIP, OPENAI_CLIP, from_official, official_name, openai_name

CONFIG = tiny_base_config()


@pytest.fixture(scope="module")
def inverse() -> InverseHalf:
    half = halves(CONFIG, seed=5)[1]
    for name, parameter in half.named_parameters():  # norms and biases that are not 1 and 0 show where they go
        if parameter.ndim == 1:
            generator = torch.Generator().manual_seed(hash(name) % 1000)
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return half


@pytest.fixture
def state(inverse: InverseHalf) -> dict[str, Tensor]:
    """What the paper's code would have saved of the same weights, with all that it saves beside."""
    ours = inverse.state_dict()
    made: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        theirs = official_name(name)
        made[theirs] = torch.cat([made[theirs], tensor]) if theirs in made else tensor.clone()  # qkv lie in this order
    made["lam.text_encoder.shared.weight"] = made["lam.text_encoder.encoder.embed_tokens.weight"].clone()
    for name in [name for name in made if name.startswith(CLIP)]:
        openai = openai_name(name.removeprefix(CLIP))
        assert openai is not None
        parts = [made[re.sub(r"\.[qkv]_proj\.", f".{letter}_proj.", name)] for letter in "qkv"]
        whole = torch.cat(parts) if "in_proj" in openai else made[name]
        made[f"{OPENAI_CLIP}{openai}"] = (whole.T if openai == "text_projection" else whole).half().float()
    width = CONFIG.decoder.width
    made |= {
        f"{OPENAI_CLIP}visual.proj": torch.zeros(3, 4),
        f"{OPENAI_CLIP}logit_scale": torch.zeros(()),
        f"{CLIP}text_model.embeddings.position_ids": torch.arange(77)[None],
        "model.inner_model.pos_emb": torch.zeros(1, 235, width),
        "model.inner_model.goal_emb.0.weight": torch.zeros(2 * width, 512),
        "model.inner_model.proprio_emb.2.bias": torch.zeros(width),
    }
    return made


@pytest.fixture
def policy_file(state: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "policy.pt"
    torch.save({"model": state, "args": {"lr": 1e-4}}, path)
    return path


@pytest.fixture(scope="module")
def gfdm() -> dict[str, Tensor]:
    torch.manual_seed(7)
    return ForwardHalf(CONFIG, video=True).state_dict()


@pytest.fixture
def gfdm_folder(gfdm: dict[str, Tensor], tmp_path: Path) -> Path:
    """A folder as diffusers writes a pipeline."""
    folder = tmp_path / "gfdm"
    for part, prefix in (("unet", "gfdm.backbone."), ("vae", "gfdm.autoencoder.")):
        (folder / part).mkdir(parents=True)
        weights = {name.removeprefix(prefix): tensor for name, tensor in gfdm.items() if name.startswith(prefix)}
        save_file(weights, str(folder / part / "diffusion_pytorch_model.safetensors"))
    (folder / "image_encoder").mkdir()  # ViT-H, which the paper's code loads and never runs
    (folder / "image_encoder" / "model.safetensors").write_bytes(b"never opened")
    return folder


def shapes(inverse: InverseHalf) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in inverse.state_dict().items()}


def test_weights_come_back_from_their_official_names(inverse: InverseHalf, state: dict[str, Tensor]) -> None:
    found = from_official(state, shapes(inverse))
    assert set(found) == set(inverse.state_dict())
    for name, tensor in inverse.state_dict().items():
        assert torch.equal(found[name], tensor), name


def test_the_policy_computes_what_the_paper_describes(inverse: InverseHalf, state: dict[str, Tensor]) -> None:
    """The one test of most of defi-model 6.3: causal context, raw modulation, frames 0 and 5, positions, sampling."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, *CONFIG.feature_shape, generator=generator)
    words = torch.randn(2, 5, BASE_TEXT.t5_width, generator=generator)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    sentence = torch.randn(2, BASE_TEXT.clip_width, generator=generator)
    noise = torch.randn(2, CONFIG.chunk_steps, 7, generator=generator)
    with torch.no_grad():
        expected = Reference(state, CONFIG).actions(features, sentence, words, mask, noise)
        found = inverse.act(features, words, mask, sentence, torch.zeros(2, 0), noise)
    assert expected.std() > 0.01, "actions that are all the same would agree with anything"
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_every_difference_is_listed_at_once(inverse: InverseHalf, state: dict[str, Tensor]) -> None:
    del state["lam.to_codebook.bias"]
    state["lam.decoder.out.weight"] = torch.zeros(1)
    state["time_pos_emb"] = torch.zeros(3, 1, CONFIG.gidm.width)
    with pytest.raises(CheckpointError) as error:
        from_official(state, shapes(inverse))
    for part in (
        "got 3 differences",
        "missing: lam.to_codebook.bias",
        "unexpected: lam.decoder.out.weight",
        "shape: time_pos_emb is (3, 1, 16) instead of (2, 1, 16)",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    "copy",
    [
        "lam.text_encoder.shared.weight",
        f"{OPENAI_CLIP}token_embedding.weight",
        f"{OPENAI_CLIP}text_projection",
        f"{OPENAI_CLIP}transformer.resblocks.1.attn.in_proj_weight",
    ],
)
def test_a_frozen_copy_that_is_none_is_refused(inverse: InverseHalf, state: dict[str, Tensor], copy: str) -> None:
    state[copy] = state[copy].clone()
    state[copy][-1] += 0.1
    with pytest.raises(CheckpointError, match=f"copies differ: {copy} and"):
        from_official(state, shapes(inverse))


def test_what_is_no_weight_is_listed_with_the_other_differences(inverse: InverseHalf, state: dict[str, Tensor]) -> None:
    """Each was a traceback, or went into the checkpoint as it was."""
    given: dict[object, object] = {**state, 5: torch.zeros(1), "lam.to_codebook.bias": 3, "more": torch.zeros(1)}
    given["time_pos_emb"] = state["time_pos_emb"].to(torch.int64)
    given["goal_emb.0.bias"] = torch.full_like(state["goal_emb.0.bias"], float("nan"))
    with pytest.raises(CheckpointError) as error:
        from_official(given, shapes(inverse))
    for part in (
        "got 5 differences",
        "no tensor: 5 is Tensor",
        "no tensor: 'lam.to_codebook.bias' is int",
        "unexpected: more",
        "kind: time_pos_emb is torch.int64 instead of a float",
        "not finite: goal_emb.0.bias",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_gfdm_that_float16_cannot_hold_is_refused(
    policy_file: Path, gfdm_folder: Path, tmp_path: Path, value: float
) -> None:
    path = gfdm_folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(str(path))
    weights["quant_conv.bias"][0] = value
    save_file(weights, str(path))
    with pytest.raises(CheckpointError, match=r"not finite: gfdm\.autoencoder\..*quant_conv\.bias"):
        import_official(Sources(policy_file, gfdm_folder), tmp_path / "out", CONFIG, arm="any")


@pytest.mark.parametrize(("clip", "t5"), [(T5_TOKENIZER, T5_TOKENIZER), (CLIP_TOKENIZER, CLIP_TOKENIZER)])
def test_another_models_tokenizer_is_refused_by_its_marks(tmp_path: Path, clip: str, t5: str) -> None:
    """T5's tokens are few enough for CLIP's table, so that CLIP read words that mean something else to it."""
    names = tiny_tokenizers(tmp_path / "tokenizers", BASE_TEXT)
    (tmp_path / "policy.pt").write_text("not read before")
    sources = Sources(tmp_path / "policy.pt", None, names / clip, names / t5)
    wrong = CLIP_TOKENIZER if clip == T5_TOKENIZER else T5_TOKENIZER
    with pytest.raises(
        CheckpointError, match=f"{wrong}: got the tokens .*expected them to .*another model's tokenizer"
    ):
        import_official(sources, tmp_path / "out", CONFIG, arm="any")


def test_a_folder_in_place_of_a_file_and_the_other_way_is_refused(policy_file: Path, tmp_path: Path) -> None:
    for sources in (
        Sources(tmp_path),
        Sources(policy_file, None, tmp_path, tmp_path),
        Sources(policy_file, policy_file),
    ):
        with pytest.raises(ConfigError, match=r"expected a f(ile|older) that exists"):
            import_official(sources, tmp_path / "out", CONFIG, arm="any")


def test_import_writes_one_checkpoint_that_holds_both_halves(
    policy_file: Path, gfdm_folder: Path, gfdm: dict[str, Tensor], inverse: InverseHalf, tmp_path: Path
) -> None:
    names = tiny_tokenizers(tmp_path / "tokenizers", BASE_TEXT)
    sources = Sources(policy_file, gfdm_folder, names / CLIP_TOKENIZER, names / T5_TOKENIZER)
    checkpoint = import_official(sources, tmp_path / "out", CONFIG, arm="calvin_panda")
    assert set(checkpoint.hashes) == {FORWARD, INVERSE, VIDEO, CLIP_TOKENIZER, T5_TOKENIZER}
    assert checkpoint.spec().feature_shape == CONFIG.feature_shape
    forward, video = (load_file(str(checkpoint.weights(name))) for name in (FORWARD, VIDEO))
    assert set(forward) == set(ForwardHalf(CONFIG).state_dict())
    assert set(forward) | set(video) == set(gfdm)
    assert not set(forward) & set(video)
    for name, tensor in {**forward, **video}.items():
        clip = name.replace("gfdm.text.clip.", "text.clip_text.clip.")
        expected = inverse.state_dict()[clip] if "text.clip." in name else gfdm[name].half()
        assert torch.equal(tensor, expected), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gfdm", "out", "policy.pt", "tokenizers"]


def test_a_refused_import_leaves_nothing(policy_file: Path, gfdm_folder: Path, tmp_path: Path) -> None:
    broken = gfdm_folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(str(broken))
    weights["surplus"] = weights.pop("quant_conv.bias")
    save_file(weights, str(broken))
    with pytest.raises(CheckpointError, match=r"(?s)missing: .*quant_conv\.bias.*unexpected: .*surplus"):
        import_official(Sources(policy_file, gfdm_folder), tmp_path / "new" / "out", CONFIG, arm="any")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gfdm", "policy.pt"]


def test_a_place_that_is_taken_is_refused_before_a_weight_is_read(tmp_path: Path) -> None:
    """The folder given with `--out` was deleted, whatever it held, after gigabytes had been read."""
    (tmp_path / "policy.pt").write_text("no weights")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds \['thesis\.tex'\] and no checkpoint\.json"):
        import_official(Sources(tmp_path / "policy.pt"), tmp_path / "out", CONFIG, arm="any")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_pickled_folders_are_not_read(policy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "gfdm" / "unet").mkdir(parents=True)
    (tmp_path / "gfdm" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin.*pickled weights are not read"):
        import_official(Sources(policy_file, tmp_path / "gfdm"), tmp_path / "out", CONFIG, arm="any")


def test_one_tokenizer_without_the_other_is_refused(policy_file: Path, tmp_path: Path) -> None:
    names = tiny_tokenizers(tmp_path / "tokenizers", BASE_TEXT)
    with pytest.raises(ConfigError, match="expected both --clip-tokenizer and --t5-tokenizer"):
        import_official(Sources(policy_file, None, names / CLIP_TOKENIZER), tmp_path / "out", CONFIG, arm="any")


@pytest.fixture
def settings_class() -> Iterator[type]:
    """A class that pickles as omegaconf's, which is not installed where the file is read."""
    module = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self) -> None:
            self.content = {"lr": 1e-4}

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf.dictconfig", "DictConfig"
    module.DictConfig = DictConfig  # type: ignore[attr-defined]
    sys.modules |= {"omegaconf": types.ModuleType("omegaconf"), "omegaconf.dictconfig": module}
    yield DictConfig
    for name in ("omegaconf", "omegaconf.dictconfig"):
        sys.modules.pop(name, None)


def test_training_settings_are_read_past_without_their_package(tmp_path: Path, settings_class: type) -> None:
    path = tmp_path / "policy.pt"
    torch.save({"model": {"weight": torch.ones(2)}, "args": settings_class()}, path)
    for name in ("omegaconf", "omegaconf.dictconfig"):
        del sys.modules[name]
    found = read_torch(path)
    assert torch.equal(found["model"]["weight"], torch.ones(2))
    assert not vars(found["args"])


class Attack:
    """What a hostile file would hold."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("owned",)


def test_a_file_that_would_run_something_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "args": Attack()}, tmp_path / "policy.pt")
    with pytest.raises(CheckpointError, match=r"would run \['(posix|os)\.mkdir'\]"):
        read_torch(tmp_path / "policy.pt")
    assert not (tmp_path / "owned").exists()


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a torch file"):
        read_torch(tmp_path / "text.pt")
    with pytest.raises(CheckpointError, match="not a torch file"):
        read_torch(tmp_path)  # the folder in place of the file in it
    torch.save({"state_dict": {}}, tmp_path / "stage2.ckpt")
    with pytest.raises(CheckpointError, match="this looks like stage 2's"):
        import_official(Sources(tmp_path / "stage2.ckpt"), tmp_path / "out", CONFIG, arm="any")


def test_the_command_refuses_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-official", str(tmp_path / "none.pt"), "--out", str(tmp_path / "out")]) == 2
    assert "expected a file that exists" in capsys.readouterr().err
