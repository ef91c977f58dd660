"""Latency and memory of a policy by stage: medians over chunks, beside the paper's 153 ms on an RTX 4090.

    python bench/latency.py base --device cuda:0 --chunks 50
    python bench/latency.py base --device cpu --chunks 1 --threads 2 --json latency.json
    python bench/latency.py nano

A preset without weights of its own (`small`, `base`) gets random ones: time and memory do not depend on their values.
`--compiled` runs it through torch.compile, and times the two halves alone. The first chunk warms up and is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint, write_checkpoint
from defi_models.config import DefiConfig, PretrainedTextConfig
from defi_models.contract import DefiError, Observation, Proprioception
from defi_models.experiment.paper import CHUNK_MS
from defi_models.inference.defi_policy import DefiPolicy
from defi_models.inference.load import check_device, resolve, shipped
from defi_models.inference.torch_engine import TorchForward, TorchInverse
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.options import check_at_least
from defi_models.training.presets import preset
from defi_models.transforms import Statistics
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER

INSTRUCTION = "open the drawer"
WORDS = ("drawer", "open", "the")


class Stopwatch:
    """Times calls of a module's method; on a GPU, until it has finished."""

    def __init__(self, device: torch.device) -> None:
        self.ms: dict[str, float] = {}
        self._device = device

    def time(self, stage: str, owner: Any, method: str) -> None:
        """Adds every later call of `owner.method` to `stage`."""
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._wait()
            start = time.perf_counter()
            found = original(*args, **kwargs)
            self._wait()
            self.ms[stage] = self.ms.get(stage, 0.0) + (time.perf_counter() - start) * 1e3
            return found

        setattr(owner, method, timed)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def random_weights(make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Weights of the module that `make` makes: norms pass through, the others are small noise; float16."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in make().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        scale = name.endswith(("weight", "latent_scale", "mix_factor")) and len(shape) < 2
        noise = torch.ones(shape) if scale else torch.randn(shape, generator=generator) * 0.02
        found[name] = noise.half()
    return found


def byte_tokenizers(folder: Path, config: PretrainedTextConfig) -> dict[str, Path]:
    """Tokenizers of the right size that know single bytes and words of the instruction: enough to time a model with."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    begin, end = config.clip_vocabulary - 2, config.clip_vocabulary - 1
    clip = Tokenizer(models.BPE({**letters, "<begin>": begin, "<end>": end}, []))
    clip.pre_tokenizer = pre_tokenizers.ByteLevel()
    clip.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", begin), ("<end>", end)]
    )
    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    t5 = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    t5.pre_tokenizer = pre_tokenizers.Whitespace()
    t5.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    files = {CLIP_TOKENIZER: folder / CLIP_TOKENIZER, T5_TOKENIZER: folder / T5_TOKENIZER}
    clip.save(str(files[CLIP_TOKENIZER]))
    t5.save(str(files[T5_TOKENIZER]))
    return files


def random_checkpoint(name: str, folder: Path) -> Checkpoint:
    """A policy of a preset's size with random weights."""
    config: DefiConfig = preset(name).model(WORDS)
    made = folder / "made"
    made.mkdir(parents=True)
    files = {FORWARD: made / FORWARD, INVERSE: made / INVERSE}
    save_file(random_weights(lambda: ForwardHalf(config)), str(files[FORWARD]))
    save_file(random_weights(lambda: InverseHalf(config, config.gfdm.feature_width)), str(files[INVERSE]))
    if isinstance(config.text, PretrainedTextConfig):
        files |= byte_tokenizers(made, config.text)
    scale = (0.02,) * (config.action_width - 1) + (1.0,)
    return write_checkpoint(
        folder / name,
        name=name,
        arm="any",
        config=config,
        weights=files,
        statistics=Statistics(scale, (0.0,) * 10, (1.0,) * 10),
        provenance={"weights": "random"},
    )


@contextmanager
def checkpoint_of(name: str) -> Iterator[Checkpoint]:
    """A checkpoint folder or a shipped policy as it is; a preset with random weights in a folder of its own."""
    if Path(name).is_dir() or name in shipped():
        yield resolve(name)
    else:
        with tempfile.TemporaryDirectory(prefix="latency-") as folder:
            yield random_checkpoint(name, Path(folder))


def measure(checkpoint: Checkpoint, device: torch.device, chunks: int, compiled: bool) -> dict[str, Any]:
    """Medians by stage [ms], and the most memory that was held."""
    started = time.perf_counter()
    forward = TorchForward(checkpoint, str(device), compiled)
    inverse = TorchInverse(checkpoint, str(device), compiled)
    policy = DefiPolicy(checkpoint, forward, inverse)
    load_s = time.perf_counter() - started
    watch = Stopwatch(device)
    watch.time("GFDM", forward, "features")
    if not compiled:  # inside of what is compiled, a clock would cut the graph in two
        watch.time("GIDM", inverse._half.gidm, "forward")
    watch.time("inverse half", inverse, "actions")
    rng = np.random.default_rng(0)
    size = checkpoint.config.gfdm.image_size
    images = {name: rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for name in policy.spec.cameras}
    state = Proprioception(0, np.zeros(7), np.array([0.4, 0, 0.3, 1, 0, 0, 0]), 0.0)
    rows: list[dict[str, float]] = []
    for number in range(chunks + 1 if chunks > 1 else 1):
        watch.ms.clear()
        start = time.perf_counter()
        chunk = policy.act(policy.imagine(Observation(number, images, INSTRUCTION)), state)
        whole = (time.perf_counter() - start) * 1e3
        assert np.isfinite(chunk.targets).all()
        rows.append({**watch.ms, "chunk": whole})
    counted = rows[1:] or rows
    medians = {stage: float(np.median([row[stage] for row in counted])) for stage in counted[0]}
    if not compiled:
        medians["decoder"] = medians["inverse half"] - medians["GIDM"]
    peak = {"host_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if device.type == "cuda":
        peak["device_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return {"load_s": load_s, "median_ms": medians, "chunks": len(counted), "peak": peak}


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", nargs="?", default="base", help="a checkpoint folder, a shipped policy or a preset")
    parser.add_argument("--device", default="cpu", help='as in "cpu" or "cuda:0"')
    parser.add_argument("--chunks", type=int, default=20, help="chunks counted")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--compiled", action="store_true", help="through torch.compile")
    parser.add_argument("--json", type=Path, help="where to write the same as JSON")
    args = parser.parse_args()
    try:
        check_at_least(1, args, "chunks", "threads")
        check_device(args.device, "--device")
        torch.set_num_threads(args.threads)
        with checkpoint_of(args.policy) as checkpoint:
            report = measure(checkpoint, torch.device(args.device), args.chunks, args.compiled)
    except DefiError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    report |= {"policy": args.policy, "device": args.device, "threads": args.threads, "compiled": args.compiled}
    for stage, ms in report["median_ms"].items():
        paper = f"   paper {CHUNK_MS[stage]:.1f} (RTX 4090)" if args.policy == "base" and stage in CHUNK_MS else ""
        sys.stdout.write(f"{stage:<14} {ms:10.1f} ms{paper}\n")
    sys.stdout.write(f"loaded in {report['load_s']:.0f} s; at most {report['peak']} held; {report['chunks']} chunks\n")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
