"""The oddities of the paper's code that its weights were trained with (defi-model 6.3), one by one.

docs/models.md has the whole list with what was decided; `test_official` holds the policy against its description.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import BASE_TEXT, halves, tiny_base_config, tiny_tokenizers
from torch import Tensor, nn

from defi_models.models.decoder import ActionDenoiser, ActionLayer, VideoFormerLayer
from defi_models.models.layers import Attention, interleaved_sinusoid
from defi_models.training.presets import base
from defi_models.words import PretrainedTokenizer

pytest.importorskip("diffusers", reason="the extra `base` is not installed: requirements/base.txt")
CONFIG = tiny_base_config()
STEPS = CONFIG.chunk_steps


@pytest.fixture(scope="module")
def pair():
    return halves(CONFIG, seed=3)


def decoder_context(count: int = 1, tokens: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(count, tokens, CONFIG.decoder.width, generator=torch.Generator().manual_seed(seed))


def first_layer(denoiser: ActionDenoiser) -> ActionLayer:
    layer = denoiser.decoder[0]
    assert isinstance(layer, ActionLayer)
    return layer


def modulation(layer: ActionLayer) -> nn.Linear:
    linear = layer.modulation[1]
    assert isinstance(linear, nn.Linear)
    return linear


def gfdm_inputs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    words = torch.randn(count, BASE_TEXT.max_words, BASE_TEXT.clip_width, generator=generator)
    return torch.randn(count, 4, 8, 8, generator=generator), words, torch.ones(words.shape[:2], dtype=torch.bool)


@torch.no_grad()
def test_01_actions_read_only_the_first_mixed_context_tokens(pair) -> None:
    denoiser = pair[1].denoiser
    context, noisy, sigma = decoder_context(), torch.randn(1, STEPS, 7), torch.tensor([2.0])
    mixed = context
    for layer in denoiser.encoder:
        mixed = layer(mixed)
    mixed = denoiser.encoder_norm(mixed)
    changed = mixed.clone()
    changed[:, STEPS:] = decoder_context(seed=1)[:, STEPS:]
    read, other = ([layer.cross.project(c) for layer in denoiser.decoder] for c in (mixed, changed))
    torch.testing.assert_close(denoiser.denoise(noisy, sigma, read), denoiser.denoise(noisy, sigma, other))
    later = context.clone()
    later[:, STEPS:] = decoder_context(seed=1)[:, STEPS:]
    through_mixing = denoiser.denoise(noisy, sigma, denoiser.read(later))
    assert (through_mixing != denoiser.denoise(noisy, sigma, read)).any()


@torch.no_grad()
def test_02_modulation_has_no_one_added_and_gates_are_raw() -> None:
    torch.manual_seed(0)
    layer = first_layer(ActionDenoiser(CONFIG.decoder, 7, STEPS)).eval()
    condition = torch.zeros(1, 1, CONFIG.decoder.width)
    x = torch.randn(1, STEPS, CONFIG.decoder.width)
    read = layer.cross.project(decoder_context())
    only_cross = x + layer.cross.attend(layer.norm3(x), read, causal=True)
    modulation(layer).bias.zero_()
    torch.testing.assert_close(layer(x, read, condition), only_cross)


def test_02_modulation_is_not_initialised_with_zeros() -> None:
    torch.manual_seed(0)
    denoiser = ActionDenoiser(base(()).decoder, 7, 10)
    linear = modulation(first_layer(denoiser))
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()
    assert denoiser.action_pred.weight.std().item() == pytest.approx(0.02, rel=0.1)


@torch.no_grad()
def test_03_motion_comes_from_frames_0_and_5_of_the_first_camera(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    inverse, seen = pair[1], []
    original = inverse.gidm.forward
    monkeypatch.setattr(inverse.gidm, "forward", lambda frames, *rest: seen.append(frames) or original(frames, *rest))
    features = torch.randn(1, *CONFIG.feature_shape)
    rest = torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool), torch.randn(1, 16), torch.zeros(1, 0)
    assert base(()).goal_frame == CONFIG.goal_frame == 5
    inverse.context(features, *rest)
    expected = inverse.goal_emb(features[:, 0, [0, 5]]) + inverse.time_pos_emb
    torch.testing.assert_close(seen[0], expected)


@torch.no_grad()
def test_04_the_first_id_is_4_when_features_are_taken_and_7_in_training(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, seen = pair[0].gfdm.backbone, []
    original = backbone.add_time_proj.forward
    monkeypatch.setattr(backbone.add_time_proj, "forward", lambda ids: seen.append(ids.tolist()) or original(ids))
    for training in (False, True):
        backbone.train(training)
        pair[0].gfdm.features(*gfdm_inputs(1))
    backbone.eval()
    assert seen == [[4, 127, 0], [7, 127, 0]]


@torch.no_grad()
def test_05_sampling_ends_at_level_1_while_training_reaches_a_thousandth(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, sampled, trained = pair[1].denoiser, [], []
    read = denoiser.read(decoder_context(2))
    original = denoiser.denoise
    monkeypatch.setattr(denoiser, "denoise", lambda x, s, c: sampled.append(float(s[0])) or original(x, s, c))
    denoiser.sample(read, torch.randn(2, STEPS, 7))
    expected = [80, 49.163, 30.212, 18.566, 11.410, 7.012, 4.309, 2.648, 1.627, 1.0]
    assert sampled == pytest.approx(expected, rel=1e-3)
    network = denoiser._network
    monkeypatch.setattr(denoiser, "_network", lambda x, s, c: trained.extend(s.tolist()) or network(x, s, c))
    ends = torch.tensor([0.0, 1.0])
    denoiser.loss(torch.randn(2, STEPS, 7), decoder_context(2), ends, torch.randn(2, STEPS, 7))
    assert trained == pytest.approx([1e-3, 80.0], rel=0.02)


@torch.no_grad()
def test_06_noise_is_drawn_once_and_may_be_given(pair) -> None:
    gfdm = pair[0].gfdm
    given = gfdm_inputs(1)
    features = gfdm.features(*given)
    torch.testing.assert_close(features, halves(CONFIG, seed=3)[0].gfdm.features(*given))
    noise = torch.randn(gfdm.fixed_noise.shape, generator=torch.Generator().manual_seed(9))
    assert (gfdm.features(*given, noise=noise) - features).abs().max() > 1e-3


@torch.no_grad()
def test_08_the_pooled_sentence_is_the_same_from_20_tokens_as_from_77(pair, tmp_path) -> None:
    """So the pass that reads words serves for the pooled vector too, and both are float32."""
    text = pair[0].gfdm.text
    tokens = torch.from_numpy(PretrainedTokenizer(BASE_TEXT, tiny_tokenizers(tmp_path, BASE_TEXT))(["open it"]))
    ids = tokens[:, : BASE_TEXT.max_words]
    padding = ids.new_full((1, BASE_TEXT.clip_positions - ids.shape[1]), BASE_TEXT.clip_vocabulary - 1)
    places = torch.arange(BASE_TEXT.clip_positions)[None]
    long = text.clip(input_ids=torch.cat([ids, padding], dim=1), position_ids=places).text_embeds
    pooled = text(tokens).pooled
    torch.testing.assert_close(pooled, long, atol=1e-5, rtol=1e-5)
    assert pooled.dtype == torch.float32


def test_10_attention_over_time_has_no_norm_before_it_and_sees_all_frames() -> None:
    torch.manual_seed(0)
    layer = VideoFormerLayer(CONFIG.decoder)
    norms = {name for name, module in layer.named_modules() if isinstance(module, nn.LayerNorm)}
    assert norms == {"norm_media", "norm_latents", "norm_forward"}
    x = torch.randn(1, 3, 2, CONFIG.decoder.width, requires_grad=True)
    layer(x, torch.randn(1, 3, 5, CONFIG.decoder.width))[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[:, 2].abs().max() > 0, "the first frame sees the last one"


def test_11_codes_are_not_counted_at_inference(pair) -> None:
    names = [name for name, _ in (*pair[1].named_buffers(), *pair[1].state_dict().items())]
    assert not [name for name in names if "usage" in name]


def test_12_positions_alternate_sines_and_cosines_and_are_not_stored(pair) -> None:
    found = interleaved_sinusoid(torch.arange(5), 6)
    for place in range(5):
        for number in range(6):
            angle = place / 10_000 ** (2 * (number // 2) / 6)
            assert found[place, number] == pytest.approx((math.cos if number % 2 else math.sin)(angle), abs=1e-6)
    assert not [name for name in pair[1].state_dict() if "pos_enc" in name]


@torch.no_grad()
def test_13_the_other_camera_reaches_the_video_former_only(pair) -> None:
    inverse = pair[1]
    features = torch.randn(1, *CONFIG.feature_shape)
    changed = features.clone()
    changed[:, 1] += 1.0
    rest = torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool), torch.randn(1, 16), torch.zeros(1, 0)
    before, after = (inverse.context(f, *rest)[0] for f in (features, changed))
    queries = CONFIG.gidm.queries
    torch.testing.assert_close(before[:, -queries:], after[:, -queries:])
    assert (before[:, 1:-queries] - after[:, 1:-queries]).abs().max() > 1e-4


@torch.no_grad()
def test_15_features_come_from_the_highest_level_whatever_steps_a_video_has(
    pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gfdm, seen = pair[0].gfdm, []
    original = gfdm.backbone.trunk
    monkeypatch.setattr(gfdm.backbone, "trunk", lambda *given: seen.append(given[:2]) or original(*given))
    gfdm.features(*gfdm_inputs(2))
    noisy, level = seen[0]
    assert level.tolist() == pytest.approx([1.63777] * 2, abs=1e-5)
    torch.testing.assert_close(noisy, gfdm.fixed_noise.expand(2, -1, -1, -1, -1))  # exactly unit noise goes in


def test_16_text_goes_in_as_it_is_written(tmp_path) -> None:
    tokenizer = PretrainedTokenizer(BASE_TEXT, tiny_tokenizers(tmp_path, BASE_TEXT))
    assert (tokenizer(["Take the red block"]) != tokenizer(["take the red block"])).any()


def test_18_a_task_has_360_steps_unless_asked_otherwise() -> None:
    from argparse import ArgumentParser

    from defi_models.evaluation.calvin import CalvinEvaluation

    parser = ArgumentParser()
    CalvinEvaluation().add_arguments(parser)
    given = ["--policy", "base", "--dataset", "task_ABC_D"]
    assert parser.parse_args(given).steps == 360
    assert parser.parse_args([*given, "--steps", "720"]).steps == 720


def test_23_a_causal_mask_starts_at_the_top_left_where_keys_outnumber_queries() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x, context = torch.randn(2, 3, 8), torch.randn(2, 7, 8)
    q, (k, v) = attention._split(attention.to_q(x)), attention.project(context)
    hidden = torch.full((3, 7), float("-inf")).triu(1)
    expected = ((q @ k.transpose(-2, -1) / 2 + hidden).softmax(-1) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x, context, causal=True), attention.to_out(expected))


@torch.no_grad()
def test_24_each_instruction_of_a_batch_reaches_its_own_clip(pair) -> None:
    latents, words, mask = gfdm_inputs(2)
    together = pair[0].gfdm.features(latents, words, mask)
    alone = torch.cat([pair[0].gfdm.features(latents[i : i + 1], words[i : i + 1], mask[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
    swapped = pair[0].gfdm.features(latents, words.flip(0), mask)
    assert (swapped - together).abs().max() > 1e-2


def test_dropout_is_the_papers_in_training_alone() -> None:
    layer = first_layer(ActionDenoiser(base(()).decoder, 7, 10))
    assert (layer.attention.dropout, layer.cross.dropout) == (0.3, 0.3)
    assert (layer.residual_dropout.p, layer.dropout.p) == (0.1, 0.05)
    x, read = torch.randn(1, 10, 384), layer.cross.project(torch.randn(1, 12, 384))
    condition = torch.randn(1, 1, 384)
    assert (layer.train()(x, read, condition) - layer(x, read, condition)).abs().max() > 1e-4
    torch.testing.assert_close(layer.eval()(x, read, condition), layer(x, read, condition))


def test_conditions_that_no_model_can_have_are_refused() -> None:
    from defi_models.contract import ConfigError
    from defi_models.training.presets import small

    for changes, reason in (
        ({"gfdm": small(()).gfdm}, "both from SVD or both small"),
        ({"gfdm": replace(CONFIG.gfdm, image_size=100)}, "expected a multiple of 64 px"),
        ({"goal_frame": 6}, r"expected 1\.\.5"),
        ({"action_encoding": "wheel_speeds"}, "expected one of"),
        ({"action_width": 8}, "expected 7 for accumulated_pose"),
        ({"horizon_steps": 11}, r"expected 1\.\.10"),
    ):
        with pytest.raises(ConfigError, match=reason):
            replace(CONFIG, **changes)
