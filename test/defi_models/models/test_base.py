"""The paper's model at small sizes: what its libraries must keep doing, and what is neither loaded nor run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import BASE_AUTOENCODER, BASE_DINO, BASE_SVD, BASE_TEXT, halves, tiny_base_config, tiny_tokenizers

from defi_models.contract import CheckpointError, ConfigError, ContractError
from defi_models.models.defi import ForwardHalf
from defi_models.words import T5_TOKENIZER, PretrainedTokenizer

pytest.importorskip("diffusers", reason="the extra `base` is not installed: requirements/base.txt")
CONFIG = tiny_base_config()
TEXT = "open the drawer"


@pytest.fixture(scope="module")
def pair():
    return halves(CONFIG)


@pytest.fixture(scope="module")
def video_half():
    torch.manual_seed(1)
    return ForwardHalf(CONFIG, video=True).eval()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PretrainedTokenizer:
    folder = tiny_tokenizers(tmp_path_factory.mktemp("tokenizers"), BASE_TEXT)
    return PretrainedTokenizer(BASE_TEXT, folder)


def tokens_of(tokenizer: PretrainedTokenizer, *texts: str) -> torch.Tensor:
    return torch.from_numpy(tokenizer(texts))


def given(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image latents, word vectors and mask."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(count, BASE_TEXT.max_words, BASE_TEXT.clip_width, generator=generator)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    return latents, words, torch.ones(words.shape[:2], dtype=torch.bool)


def reference_unet(backbone):
    """A whole UNet of diffusers with the same weights."""
    from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

    config = BASE_SVD
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=config.channels,
        num_attention_heads=config.heads,
        layers_per_block=config.layers,
        cross_attention_dim=config.text_width,
        addition_time_embed_dim=config.id_width,
        projection_class_embeddings_input_dim=3 * config.id_width,
    )
    unet.load_state_dict(backbone.state_dict())
    return unet.eval()


def test_prediction_is_that_of_the_whole_unet(video_half) -> None:
    backbone = video_half.gfdm.backbone
    latents, words, mask = given(2)
    noisy, level = torch.randn(2, BASE_SVD.frames, 4, 8, 8), torch.tensor([0.3, 1.6])
    image = latents[:, None].expand(-1, BASE_SVD.frames, -1, -1, -1) / 0.18215
    with torch.no_grad():
        expected = reference_unet(backbone)(
            torch.cat([noisy, image], dim=2),
            level,
            torch.cat([words, words], dim=-1),
            torch.tensor([[4.0, 127.0, 0.0]] * 2),
        ).sample
        torch.testing.assert_close(backbone.predict(noisy, level, latents, words, mask), expected)


def test_features_are_the_outputs_of_the_first_two_up_blocks(video_half) -> None:
    backbone, taken = video_half.gfdm.backbone, []
    hooks = [block.register_forward_hook(lambda *call: taken.append(call[-1])) for block in backbone.up_blocks]
    with torch.no_grad():
        features = video_half.gfdm.features(*given(1))[0]  # (F, tokens, width)
    for hook in hooks:
        hook.remove()
    assert len(taken) == 2, "nothing after the second up block may run"
    coarse, fine = taken
    width = coarse.shape[1]
    grid = features.unflatten(1, (4, 4)).permute(0, 3, 1, 2)  # row-major
    torch.testing.assert_close(grid[:, :width], coarse.repeat_interleave(2, -1).repeat_interleave(2, -2))
    torch.testing.assert_close(grid[:, width:], fine)


def test_a_policy_holds_nothing_that_only_video_needs(pair, video_half) -> None:
    lean, full = set(pair[0].state_dict()), set(video_half.state_dict())
    assert lean < full
    only_video = full - lean
    assert any(key.startswith("gfdm.autoencoder.decoder.") for key in only_video)
    assert {key.split(".")[2] for key in only_video if key.startswith("gfdm.backbone.")} == {
        "up_blocks",
        "conv_norm_out",
        "conv_out",
    }
    assert not any(key.startswith(("gfdm.backbone.up_blocks.2", "gfdm.backbone.up_blocks.3")) for key in lean)


def test_lean_and_whole_models_give_the_same_features(pair, video_half) -> None:
    lean = ForwardHalf(CONFIG).eval()
    lean.load_state_dict({k: v for k, v in video_half.state_dict().items() if k in lean.state_dict()})
    torch.testing.assert_close(lean.gfdm.features(*given(2)), video_half.gfdm.features(*given(2)))


def test_a_model_without_its_video_part_says_so(pair) -> None:
    gfdm = pair[0].gfdm
    latents, words, mask = given(1)
    with pytest.raises(ConfigError, match="loaded for features only"):
        gfdm.denoise(torch.zeros(1, BASE_SVD.frames, 4, 8, 8), torch.ones(1), latents, words, mask)
    assert gfdm.frames_from_features(gfdm.features(latents, words, mask)) is None


def test_video_has_the_frames_and_pixels_asked_for(video_half) -> None:
    gfdm = video_half.gfdm
    with torch.no_grad():
        clip = gfdm.generate(*given(1), steps=2, generator=torch.Generator().manual_seed(0))
    assert clip.shape == (1, BASE_SVD.frames, 3, 64, 64)
    assert clip.isfinite().all()


def test_autoencoder_is_that_of_diffusers(video_half) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

    mine = video_half.gfdm.autoencoder
    reference = AutoencoderKLTemporalDecoder(
        block_out_channels=BASE_AUTOENCODER.channels,  # type: ignore[arg-type]
        down_block_types=("DownEncoderBlock2D",) * 4,  # type: ignore[arg-type]
        layers_per_block=BASE_AUTOENCODER.layers,
    )
    reference.load_state_dict(mine.state_dict())
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        mode = reference.encode(images, return_dict=False)[0].mode()  # type: ignore[index]
        torch.testing.assert_close(mine.encode(images), mode * 0.18215)
        frames = reference.decode(mode, num_frames=2, return_dict=False)[0]
        torch.testing.assert_close(mine.decode_clips((mode * 0.18215)[None])[0], frames, atol=1e-4, rtol=1e-4)


def test_text_masks_are_those_the_library_makes_itself(pair, tokenizer) -> None:
    tokens = tokens_of(tokenizer, TEXT, "push the sliding door to the left")
    clip, t5 = pair[0].gfdm.text, pair[1].text.t5
    words, mask, pooled = clip(tokens)
    ids, places = tokens[:, : BASE_TEXT.max_words], torch.arange(BASE_TEXT.max_words)[None]
    found = clip.clip(input_ids=ids, attention_mask=mask.long(), position_ids=places)
    torch.testing.assert_close(words, found.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, found.text_embeds, atol=1e-5, rtol=1e-5)
    vectors, mask, _ = pair[1].text(tokens)
    expected = t5(input_ids=tokens[:, BASE_TEXT.max_words :], attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)


def test_instructions_in_one_batch_equal_instructions_alone(pair, tokenizer) -> None:
    """Padding of the shorter instruction reaches neither its words nor its motion (defi-model 6.3, 9)."""
    inverse = pair[1]
    together = inverse.text(tokens_of(tokenizer, TEXT, "push the sliding door to the left"))
    alone = inverse.text(tokens_of(tokenizer, TEXT))
    frames = torch.randn(2, 2, 16, CONFIG.gidm.width)
    torch.testing.assert_close(together.pooled[:1], alone.pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        inverse.gidm(frames, *together[:2])[0][:1], inverse.gidm(frames[:1], *alone[:2])[0], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("text", "reason"), [(" ", "expected at least one word"), ("open " * 30, "say it shorter")], ids=["empty", "long"]
)
def test_instructions_that_cannot_be_read_are_refused(tokenizer, text: str, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        tokenizer([text])


def test_missing_and_foreign_tokenizers_are_refused(tmp_path: Path, pair) -> None:
    with pytest.raises(CheckpointError, match=r"clip\.tokenizer\.json is missing"):
        PretrainedTokenizer(BASE_TEXT, tmp_path)
    tiny_tokenizers(tmp_path, BASE_TEXT)
    with pytest.raises(CheckpointError, match="got 300 tokens, expected at most 200"):
        PretrainedTokenizer(replace(BASE_TEXT, clip_vocabulary=200), tmp_path)
    (tmp_path / T5_TOKENIZER).write_text("no tokenizer")
    with pytest.raises(CheckpointError, match=T5_TOKENIZER):
        PretrainedTokenizer(BASE_TEXT, tmp_path)
    with pytest.raises(CheckpointError, match="got no tokenizer files"):
        pair[0].gfdm.text.tokens([TEXT])


def test_dino_gives_one_feature_a_patch_without_class_and_registers() -> None:
    from defi_models.models.pretrained import Dino

    torch.manual_seed(0)
    dino = Dino(BASE_DINO)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    features = dino(images)
    assert features.shape == (2, 4, BASE_DINO.width)
    assert (features[0] - features[1]).abs().max() > 1e-4
    torch.testing.assert_close(dino(images[:1]), features[:1], atol=1e-5, rtol=1e-5)


def test_pretrained_encoders_stay_frozen_while_the_rest_trains(pair, tokenizer) -> None:
    text = pair[1].train().text
    try:
        assert not any(module.training for module in text.modules())
        assert not any(p.requires_grad for p in text.parameters())
        tokens = tokens_of(tokenizer, TEXT)
        torch.testing.assert_close(text(tokens).words, text(tokens).words)
    finally:
        pair[1].eval()


def test_every_trainable_weight_of_the_inverse_half_is_used(pair, tokenizer) -> None:
    inverse = pair[1]
    features = torch.randn(1, *CONFIG.feature_shape)
    context, codebook_loss = inverse.context(features, *inverse.text(tokens_of(tokenizer, TEXT)), torch.zeros(1, 0))
    actions = torch.randn(1, CONFIG.chunk_steps, CONFIG.action_width)
    (inverse.denoiser.loss(actions, context, torch.tensor([0.5]), torch.randn_like(actions)) + codebook_loss).backward()
    assert [name for name, p in inverse.named_parameters() if p.requires_grad and p.grad is None] == []
    inverse.zero_grad(set_to_none=True)


def test_every_weight_of_the_whole_unet_learns(video_half) -> None:
    gfdm = video_half.gfdm
    latents, words, mask = given(1)
    clean = gfdm.denoise(torch.randn(1, BASE_SVD.frames, 4, 8, 8), torch.tensor([1.5]), latents, words, mask)
    clean.square().mean().backward()
    assert [name for name, p in gfdm.backbone.named_parameters() if p.grad is None] == []
    gfdm.zero_grad(set_to_none=True)
