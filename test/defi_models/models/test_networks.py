"""What the networks promise, on small random weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import TINY_TEXT, halves, tiny_config
from torch.nn.functional import scaled_dot_product_attention

from defi_models.contract import ContractError
from defi_models.models.decoder import ActionDenoiser
from defi_models.models.defi import InverseInputs
from defi_models.models.gidm import GidmPretraining, VectorQuantizer
from defi_models.models.layers import Attention, plain_attention
from defi_models.words import UNKNOWN, tokenize, vocabulary

CONFIG = tiny_config()
TEXT = "open the drawer"


@pytest.fixture(scope="module")
def pair():
    return halves(CONFIG)


def inverse_inputs(pair, count: int = 2) -> InverseInputs:
    forward, inverse = pair
    features = torch.randn(count, *forward.feature_shape, generator=torch.Generator().manual_seed(1))
    return InverseInputs(features, inverse.text.tokens([TEXT] * count), torch.zeros(count, 10))


def test_patches_and_head_are_each_others_layout(pair) -> None:
    backbone = pair[0].gfdm.backbone
    latents = torch.randn(2, 3, *pair[0].gfdm.latent_shape)
    patches = backbone.patches(latents)
    backbone.norm, norm = torch.nn.Identity(), backbone.norm
    backbone.patch_out, out = torch.nn.Identity(), backbone.patch_out
    try:
        torch.testing.assert_close(backbone.head(patches), latents)
    finally:
        backbone.norm, backbone.patch_out = norm, out


def test_views_in_one_batch_equal_views_alone(pair) -> None:
    forward, _ = pair
    words, mask, _ = forward.gfdm.text(forward.gfdm.text.tokens([TEXT, "close the drawer"]))
    latents = torch.randn(2, 2, *forward.gfdm.latent_shape)
    together = forward.from_latents(latents, words, mask)
    alone = forward.from_latents(latents[1:], words[1:], mask[1:])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_imagined_frames_are_the_denoised_ones(pair) -> None:
    gfdm = pair[0].gfdm
    words, mask, _ = gfdm.text(gfdm.text.tokens([TEXT]))
    image = torch.randn(1, *gfdm.latent_shape)
    sigma = torch.tensor([gfdm.config.sigma_max])
    noisy = gfdm.fixed_noise * (sigma**2 + 1).sqrt()
    clean = gfdm.denoise(noisy, sigma, image, words, mask)
    shown = gfdm.frames_from_features(gfdm.features(image, words, mask))
    torch.testing.assert_close(shown, gfdm.autoencoder.decode(clean[0])[None], atol=1e-2, rtol=1e-2)


def test_the_instruction_changes_the_imagination(pair) -> None:
    forward, _ = pair
    latents = torch.randn(1, 2, *forward.gfdm.latent_shape)
    opened, closed = (
        forward.from_latents(latents, *forward.gfdm.text(forward.gfdm.text.tokens([text]))[:2])
        for text in (TEXT, "close the drawer")
    )
    assert (opened - closed).abs().max() > 1e-4


def test_quantiser_chooses_the_nearest_code_and_passes_the_gradient() -> None:
    torch.manual_seed(0)
    vq = VectorQuantizer(8, 4)
    x = torch.randn(3, 2, 4, requires_grad=True)
    found = vq(x)
    distances = (x[:, :, None] - vq.codebook.weight).norm(dim=-1)
    torch.testing.assert_close(found.indices, distances.argmin(-1))
    torch.testing.assert_close(found.quantized, vq.codebook(found.indices))
    found.quantized.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_dead_codes_are_moved_onto_encoder_outputs() -> None:
    torch.manual_seed(0)
    vq = VectorQuantizer(4, 2)
    samples = torch.full((8, 2), 5.0)
    assert vq.restart_dead(torch.tensor([1.0, 0.0, 2.0, 0.0]), samples) == 2
    torch.testing.assert_close(vq.codebook.weight[[1, 3]], samples[:2])


def test_padding_of_one_instruction_does_not_reach_another(pair) -> None:
    _, inverse = pair
    frames = torch.randn(2, 2, 4, CONFIG.gidm.width)
    words, mask, _ = inverse.text(inverse.text.tokens(["open", "close the open drawer"]))
    together = inverse.gidm(frames, words, mask)[0]
    torch.testing.assert_close(together[:1], inverse.gidm(frames[:1], words[:1], mask[:1])[0], atol=1e-5, rtol=1e-4)


def test_present_frame_never_sees_the_future(pair) -> None:
    """Temporal attention is causal: without it the codes could copy the future rather than name the motion."""
    block = pair[1].gidm.blocks[0]
    x = torch.randn(1, 2, 5, CONFIG.gidm.width)
    changed = x.clone()
    changed[:, 1] += 1.0
    mask = torch.ones(1, 5, dtype=torch.bool)
    torch.testing.assert_close(block(x, mask)[:, 0], block(changed, mask)[:, 0])


def test_pretraining_rebuilds_patches_of_the_shape_it_was_given(pair) -> None:
    inverse = pair[1]
    words, mask, _ = inverse.text(inverse.text.tokens([TEXT]))
    rebuilt, actions = GidmPretraining(inverse.gidm, 16)(torch.randn(1, 2, 4, 16), words, mask)
    assert rebuilt.shape == (1, 4, 16)
    assert actions.indices.shape == (1, CONFIG.gidm.queries)


def test_causal_context_hides_later_tokens_from_the_first_action() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x, context = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    changed = context.clone()
    changed[:, 1:] += 1.0
    seen = attention(x, context, causal=True)
    torch.testing.assert_close(seen[:, 0], attention(x, changed, causal=True)[:, 0])
    assert (seen[:, 2] - attention(x, changed, causal=True)[:, 2]).abs().max() > 1e-4


def test_sampling_ends_where_denoising_at_the_last_level_says(pair) -> None:
    inverse = pair[1]
    denoiser: ActionDenoiser = inverse.denoiser
    inputs = inverse_inputs(pair)
    context = denoiser.read(inverse.context(inputs.features, *inverse.text(inputs.words), inputs.proprioception)[0])
    noise = torch.randn(2, CONFIG.chunk_steps, CONFIG.action_width)
    with torch.no_grad():
        found = denoiser.sample(context, noise)
    assert found.shape == noise.shape
    assert found.isfinite().all()


def test_a_perfect_network_gives_zero_loss_at_its_target(pair) -> None:
    """The preconditioning of loss and denoising agree: a network that returns the loss's target denoises exactly."""
    denoiser: ActionDenoiser = pair[1].denoiser
    actions, sigma = torch.randn(2, 5, 7), torch.tensor([0.3, 2.0])
    noisy = actions + sigma[:, None, None] * torch.randn(2, 5, 7)
    c_skip, c_out, _ = denoiser._preconditioning(sigma)
    target = (actions - c_skip * noisy) / c_out
    original, denoiser._network = denoiser._network, lambda *_: target  # type: ignore[method-assign]
    try:
        torch.testing.assert_close(denoiser.denoise(noisy, sigma, []), actions)
    finally:
        denoiser._network = original  # type: ignore[method-assign]


def test_every_weight_of_both_halves_is_used(pair) -> None:
    forward, inverse = pair
    inputs = inverse_inputs(pair)
    actions, noise = torch.randn(2, 2, CONFIG.chunk_steps, CONFIG.action_width)
    inverse.loss(inputs, actions, torch.rand(2), noise).backward()
    unused = [name for name, p in inverse.named_parameters() if p.grad is None]
    assert unused == []
    assert sum(p.numel() for p in forward.parameters()) > 0


def test_words_unknown_to_the_vocabulary_share_one_token() -> None:
    assert vocabulary(["Open the drawer!", "open it"]) == ("drawer", "it", "open", "the")
    assert tokenize("open sesame", TINY_TEXT)[1] == UNKNOWN


def test_instruction_without_words_is_refused() -> None:
    with pytest.raises(ContractError, match="expected at least one word"):
        tokenize("?!", TINY_TEXT)


def test_latent_actions_without_words_are_those_with_words(pair) -> None:
    """The last block is computed for the queries alone where nobody reads the words; that must not change the codes."""
    gidm, frames = pair[1].gidm, torch.randn(2, 2, 4, CONFIG.gidm.width)
    words, mask, _ = pair[1].text(pair[1].text.tokens([TEXT, "close"]))
    whole = gidm.encode(frames, words, mask)
    alone = gidm.encode(frames, words, mask, with_words=False)
    torch.testing.assert_close(alone[0], whole[0], atol=1e-5, rtol=1e-4)
    assert whole[1].shape[1] and not alone[1].shape[1]


@pytest.mark.parametrize("causal", [False, True])
def test_plain_attention_is_torchs(causal: bool) -> None:
    """It takes the place of the fused one in bf16 on a CPU."""
    q, k, v = (torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(n)) for n in range(3))
    allowed = (
        torch.ones(5, 5, dtype=torch.bool).tril() if causal else torch.tensor([[True] * 5, [True, False] * 2 + [True]])
    )
    allowed = allowed if causal else allowed[:, None, None]
    expected = scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    torch.testing.assert_close(plain_attention(q, k, v, allowed, 0.0), expected)
    attention = Attention(24, 3)
    x = torch.randn(2, 5, 24)
    with torch.autocast("cpu", torch.bfloat16):
        half = attention(x, causal=causal)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), attention(x, causal=causal), atol=2e-2, rtol=5e-2)


@pytest.mark.parametrize("causal", [False, True])
def test_draws_of_noise_that_share_a_context_are_worth_as_many_samples(causal: bool) -> None:
    config = replace(CONFIG.decoder, causal_context=causal)
    denoiser = ActionDenoiser(config, CONFIG.action_width, CONFIG.chunk_steps).eval()
    context = torch.randn(3, 5, CONFIG.decoder.width)
    actions = torch.randn(3, denoiser.steps, denoiser.action_width)
    noise, uniform = torch.randn(3, 4, denoiser.steps, denoiser.action_width), torch.rand(3, 4)
    shared = denoiser.loss(actions, context, uniform, noise)
    apart = [denoiser.loss(actions, context, uniform[:, draw], noise[:, draw]) for draw in range(4)]
    torch.testing.assert_close(shared, torch.stack(apart).mean())
