"""A DeFI of a few thousand weights and a dataset of a few frames, for tests."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO, Checkpoint, write_checkpoint
from defi_models.config import (
    AutoencoderConfig,
    DecoderConfig,
    DefiConfig,
    DinoConfig,
    GfdmConfig,
    GidmConfig,
    PretrainedTextConfig,
    SvdAutoencoderConfig,
    SvdConfig,
    TextConfig,
)
from defi_models.datasets.episodes import Episode, save_episode
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.training import parallel, presets
from defi_models.training.loop import fit
from defi_models.training.presets import Schedule
from defi_models.training.step import Step
from defi_models.transforms import Statistics
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER

WORDS = ("close", "drawer", "open", "the")
TINY_TEXT = TextConfig(words=WORDS, max_words=6, width=16, heads=2)
BASE_TEXT = PretrainedTextConfig(
    clip_vocabulary=300, clip_width=16, clip_depth=2, clip_heads=2,
    t5_vocabulary=300, t5_max_words=24, t5_width=16, t5_depth=2, t5_heads=2,
)  # fmt: skip
BASE_AUTOENCODER = SvdAutoencoderConfig(channels=(32, 32, 32, 32), layers=1)
BASE_SVD = SvdConfig(
    image_size=64, frames=6, channels=(32, 32, 64, 64), heads=(2, 2, 4, 4), layers=1, text_width=32, id_width=16
)
BASE_DINO = DinoConfig(image_size=28, patch=14, table_size=28, width=16, depth=1, heads=2)
DOWN = np.array([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def tiny_config() -> DefiConfig:
    """Every part present, every width small."""
    return DefiConfig(
        text=TINY_TEXT,
        autoencoder=AutoencoderConfig(channels=(8, 8, 16)),
        gfdm=GfdmConfig(image_size=32, frames=3, frame_steps=2, width=16, depth=2, heads=2, feature_blocks=(1, 2)),
        gidm=GidmConfig(width=16, depth=2, heads=2, queries=2, codes=4, code_width=8),
        decoder=DecoderConfig(
            width=16, heads=2, former_depth=1, former_queries=2, former_head_width=8, encoder_depth=1, decoder_depth=1
        ),
        chunk_steps=5,
    )


def tiny_base_config() -> DefiConfig:
    """The paper's model with the same parts and every width small: SVD, CLIP, T5, DINOv2."""
    base = presets.base(())
    return replace(
        base,
        text=BASE_TEXT,
        autoencoder=BASE_AUTOENCODER,
        gfdm=BASE_SVD,
        gidm=replace(base.gidm, width=16, depth=2, heads=2, code_width=8, dino=BASE_DINO),
        decoder=replace(
            base.decoder, width=16, heads=2, former_depth=2, former_queries=2, former_head_width=8, former_hidden=24,
            language_hidden=24, encoder_depth=2, decoder_depth=2,
        ),
    )  # fmt: skip


def tiny_tokenizers(folder: Path, config: PretrainedTextConfig) -> Path:
    """Real tokenizer files that know some bytes and words, with the marks CLIP and T5 put."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    folder.mkdir(parents=True, exist_ok=True)
    corpus = ["open the drawer", "close the drawer", "Take the red block", "push the sliding door to the left"]
    clip = Tokenizer(models.BPE())
    clip.pre_tokenizer, clip.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    clip.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=config.clip_vocabulary - 2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # CLIP's marks are its last two tokens.
    fillers = [f"<filler{i}>" for i in range(config.clip_vocabulary - 2 - clip.get_vocab_size())]
    clip.add_special_tokens([*fillers, "<|startoftext|>", "<|endoftext|>"])
    begin, end = config.clip_vocabulary - 2, config.clip_vocabulary - 1
    clip.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", begin), ("<|endoftext|>", end)],
    )
    clip.save(str(folder / CLIP_TOKENIZER))
    words = Tokenizer(models.WordLevel({}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        corpus, trainers.WordLevelTrainer(special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False)
    )
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words.save(str(folder / T5_TOKENIZER))
    return folder


def halves(config: DefiConfig, seed: int = 0) -> tuple[ForwardHalf, InverseHalf]:
    """Both halves with seeded random weights, in evaluation mode."""
    torch.manual_seed(seed)
    forward = ForwardHalf(config)
    inverse = InverseHalf(config, forward.gfdm.feature_width)
    for parameter in [*forward.parameters(), *inverse.parameters()]:
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)  # zero-initialised layers would hide what feeds them
    return forward.eval(), inverse.eval()


def tiny_checkpoint(
    folder: Path, *, arm: str = "franka_panda", seed: int = 0, config: DefiConfig | None = None
) -> Checkpoint:
    """A policy's folder with random weights, and with tokenizers where its text encoders need them."""
    config = config or tiny_config()
    forward, inverse = halves(config, seed)
    made = folder.parent / f"{folder.name}-weights"
    made.mkdir(parents=True, exist_ok=True)
    files = {FORWARD: made / FORWARD, INVERSE: made / INVERSE}
    for module, path in zip((forward, inverse), files.values(), strict=True):
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, str(path))
    if isinstance(config.text, PretrainedTextConfig):
        torch.manual_seed(seed)
        whole = ForwardHalf(config, video=True).state_dict()
        files[VIDEO] = made / VIDEO
        save_file({k: v.contiguous() for k, v in whole.items() if k not in forward.state_dict()}, str(files[VIDEO]))
        tiny_tokenizers(made, config.text)
        files |= {name: made / name for name in (CLIP_TOKENIZER, T5_TOKENIZER)}
    widths = config.action_width, config.state_width
    statistics = Statistics((0.1,) * (widths[0] - 1) + (1.0,), (0.0,) * widths[1], (1.0,) * widths[1])
    return write_checkpoint(
        folder, name="tiny", arm=arm, config=config, weights=files, statistics=statistics, provenance={"seed": seed}
    )


def tiny_episodes(
    folder: Path, count: int = 3, samples: int = 12, cameras: tuple[str, ...] = ("static", "wrist")
) -> Path:
    """Episodes of noise in which the arm moves along x."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    poses = np.tile(DOWN, (samples, 1))
    poses[:, 0] += np.linspace(0, 0.1, samples)
    for index in range(count):
        episode = Episode(
            task="open_drawer",
            instructions=("open the drawer",),
            success=True,
            step_ns=100_000_000,
            images={c: rng.integers(0, 255, (samples, 40, 40, 3), dtype=np.uint8) for c in cameras},
            joint_positions=np.zeros((samples, 7)),
            ee_pose=poses,
            gripper=np.zeros(samples),
            target_pose=poses + np.array([0.01, 0, 0, 0, 0, 0, 0]),
            target_gripper=np.zeros(samples),
        )
        save_episode(episode, folder / f"episode_{index:06d}.npz")
    return folder


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train_line(out: Path, accumulate: int = 1, stop_at: int | None = None) -> None:
    """Fits a line; leaves weights and figures of this process in `out`. Here, because a spawned process imports it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 1)

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        if step.index == stop_at:
            raise KilledError
        x = torch.from_numpy(step.rng.normal(size=(step.batch, 4))[step.own]).float() + 0.1 * step.normal(4)
        return (module(x).squeeze(-1) - x.sum(-1)).square().mean(), {"first": x[0, 0].item()}

    schedule = Schedule(40, 8, 0.1, ema=0.5, accumulate=accumulate)
    with contextlib.suppress(KilledError):
        figures = fit(module, loss, schedule, out / "run", seed=0)
        tensors = {name: parallel.whole(tensor) for name, tensor in module.state_dict().items()}
        tensors |= {name: torch.tensor(figures[name]) for name in ("first", "loss")}
        save_file(tensors, str(out / f"{parallel.rank()}.safetensors"))
