"""Latents are written once, whole or not at all, and read back as they were; damage is counted and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import shades, write_video
from safetensors.torch import save_file
from tiny import halves, tiny_checkpoint, tiny_config, tiny_episodes
from webdataset.compat import WebDataset

from defi_models.cli import main
from defi_models.config import AutoencoderConfig
from defi_models.contract import CheckpointError
from defi_models.datasets import encode as encoding
from defi_models.datasets.encode import Plan, encode, plan_of, write_shard
from defi_models.datasets.episodes import DatasetError
from defi_models.datasets.latents import fingerprint, load_autoencoder, open_latents
from defi_models.datasets.packing import open_frames

CAMERAS = ("static", "wrist")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with an autoencoder."""
    folder = tmp_path / "run"
    folder.mkdir()
    weights = halves(tiny_config())[0].gfdm.autoencoder.state_dict()
    save_file({k: v.contiguous() for k, v in weights.items()}, str(folder / "autoencoder.safetensors"))
    (folder / "run.json").write_text(json.dumps({"config": asdict(tiny_config())}))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made in this process: starting others takes seconds."""
    monkeypatch.setattr(encoding, "_on_processes", lambda plan, todo, _: ((n, write_shard(plan, n)) for n in todo))


def made(plan: Plan, tolerated: float = 0.0, told: Callable[[int, int, int], None] = lambda *_: None) -> Path:
    return encode(plan, jobs=1, ray_address=None, tolerated=tolerated, progress=told)


@pytest.mark.usefixtures("here")
def test_latents_read_back_are_those_of_the_pixels(tmp_path: Path, run: Path) -> None:
    data = tiny_episodes(tmp_path / "data", count=3, samples=5)
    made(plan_of(data, run, tmp_path / "latents", 2, {}))
    frames = open_latents(tmp_path / "latents")
    assert (len(frames), frames.tasks, frames.cameras) == (15, ("open_drawer",) * 3, CAMERAS)
    assert frames.encoded is not None
    pixels = open_frames(data, CAMERAS, 32).pixels
    autoencoder = halves(tiny_config())[0].gfdm.autoencoder
    rows, cameras = np.array([0, 7, 14]), np.array([1, 0, 1])
    images = torch.from_numpy(pixels[rows, cameras].transpose(0, 3, 1, 2)).float() / 127.5 - 1
    with torch.no_grad():
        expected = autoencoder.encode(images).half().numpy()
    np.testing.assert_allclose(frames.encoded.latents[rows, cameras], expected, atol=2e-3)


@pytest.mark.usefixtures("here")
def test_shards_are_web_datasets(tmp_path: Path, run: Path) -> None:
    made(plan_of(tiny_episodes(tmp_path / "data", count=3, samples=5), run, tmp_path / "latents", 2, {}))
    urls = [str(path) for path in sorted((tmp_path / "latents").glob("*.tar"))]
    samples = list(WebDataset(urls, shardshuffle=False).decode())  # type: ignore[arg-type]
    assert [sample["json"]["name"] for sample in samples] == [f"episode_{n:06d}.npz" for n in range(3)]
    assert samples[0]["latents.npy"].shape == (5, 2, 4, 4, 4)
    assert samples[0]["latents.npy"].dtype == np.float16


@pytest.mark.usefixtures("here")
def test_what_was_killed_goes_on_with_the_shards_that_are_missing(tmp_path: Path, run: Path) -> None:
    plan = plan_of(tiny_episodes(tmp_path / "data", count=3, samples=5), run, tmp_path / "latents", 1, {})
    made(plan)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "latents").iterdir()}
    plan.shard(1).unlink()
    plan.shard(2).with_suffix(".json").unlink()  # killed between a shard and its index
    (plan.out / "latents.json").unlink()
    told: list[int] = []
    made(plan, told=lambda done, *_: told.append(done))
    assert told == [2, 3]
    again = {path.name: path.read_bytes() for path in (tmp_path / "latents").iterdir()}
    assert again.keys() == whole.keys()
    assert again["latents.json"] == whole["latents.json"]


@pytest.mark.usefixtures("here")
def test_few_damaged_clips_are_skipped_and_named_and_many_are_an_error_until_they_are_mended(
    tmp_path: Path, run: Path
) -> None:
    for n in range(4):
        write_video(tmp_path / "v" / f"{n}.mp4", shades(6), 10)
    whole = (tmp_path / "v" / "1.mp4").read_bytes()
    (tmp_path / "v" / "1.mp4").write_bytes(whole[:200])
    plan = plan_of(tmp_path / "v", run, tmp_path / "latents", 2, {})
    with pytest.raises(DatasetError, match=r"1 of 4 clips cannot be read: 1\.mp4"):
        made(plan)
    with pytest.raises(DatasetError, match=r"got no latents\.json"):
        open_latents(plan.out)
    about = json.loads(made(plan, tolerated=0.3).read_text())
    assert list(about["damaged"]) == ["1.mp4"]
    assert len(open_latents(plan.out)) == 18
    (plan.out / "latents.json").unlink()
    (tmp_path / "v" / "1.mp4").write_bytes(whole)
    made(plan)
    assert len(open_latents(plan.out)) == 24


@pytest.mark.usefixtures("here")
def test_a_refusal_leaves_a_finished_encoding_as_it_is(tmp_path: Path, run: Path) -> None:
    """Its manifest went, so that training refused the folder."""
    for n in range(3):
        write_video(tmp_path / "v" / f"{n}.mp4", shades(6), 10)
    (tmp_path / "v" / "1.mp4").write_bytes(b"no video")
    plan = plan_of(tmp_path / "v", run, tmp_path / "latents", 2, {})
    made(plan, tolerated=0.5)
    with pytest.raises(DatasetError, match=r"1 of 3 clips cannot be read: 1\.mp4"):
        made(plan)
    assert len(open_latents(plan.out)) == 12


@pytest.mark.usefixtures("here")
def test_a_shard_whose_clip_changed_is_made_again(tmp_path: Path, run: Path) -> None:
    """The clip's old latents stayed, and training went on over them."""
    for n in range(4):
        write_video(tmp_path / "v" / f"{n}.mp4", shades(6), 10)
    plan = plan_of(tmp_path / "v", run, tmp_path / "latents", 2, {})
    made(plan)
    before = open_latents(plan.out)
    write_video(tmp_path / "v" / "3.mp4", shades(6)[::-1], 10)
    told: list[int] = []
    made(plan, told=lambda done, *_: told.append(done))
    after = open_latents(plan.out)
    assert told == [2], "one of two shards is made"
    assert after.identity != before.identity
    assert before.encoded is not None and after.encoded is not None
    rows, camera = np.arange(24), np.zeros(24, int)
    moved = (after.encoded.latents[rows, camera] != before.encoded.latents[rows, camera]).reshape(4, -1).any(1)
    assert moved.tolist() == [False, False, False, True]


@pytest.mark.usefixtures("here")
def test_folder_begun_with_other_options_is_refused(tmp_path: Path, run: Path) -> None:
    data = tiny_episodes(tmp_path / "data", count=3, samples=5)
    made(plan_of(data, run, tmp_path / "latents", 2, {}))
    with pytest.raises(DatasetError, match="got shards of other clips, of another autoencoder or with other options"):
        made(plan_of(data, run, tmp_path / "latents", 1, {}))


@pytest.mark.usefixtures("here")
def test_shard_cut_short_is_named_with_both_sizes(tmp_path: Path, run: Path) -> None:
    plan = plan_of(tiny_episodes(tmp_path / "data", count=1, samples=5), run, tmp_path / "latents", 2, {})
    made(plan)
    size = plan.shard(0).stat().st_size
    plan.shard(0).write_bytes(plan.shard(0).read_bytes()[:-10])
    with pytest.raises(DatasetError, match=rf"latents-000000\.tar: got {size - 10}, expected {size} bytes"):
        open_latents(plan.out)


@pytest.mark.usefixtures("here")
def test_latents_of_other_cameras_or_another_rate_than_the_models_are_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny_episodes(tmp_path / "data", count=1, samples=5)
    made(plan_of(data, run, tmp_path / "latents", 2, {}))
    command = [
        "train",
        "gfdm",
        "--preset",
        "test",
        "--latents",
        str(tmp_path / "latents"),
        "--out",
        str(tmp_path / "o"),
    ]
    for change in ("step_ns=200000000", "cameras=wrist,static"):
        assert main([*command, "--set", change]) == 2
        assert "got latents of ['static', 'wrist'] every 100000000 ns, expected [" in capsys.readouterr().err
    assert main(command) == 2
    assert "autoencoder.safetensors is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "d", "--clips", "-3"], "--clips: got -3, expected at least 0"),
        (
            ["encode", "--data", "d", "--model", "m", "--out", "o", "--max-damaged", "2"],
            "--max-damaged: got 2.0, expected",
        ),
        (["encode", "--data", "d", "--model", "m", "--out", f"{__file__}/x"], "--out: got"),
        (["sim", "--out", f"{__file__}/x"], "--out: got"),
        (["metaworld", "--out", __file__], "--out: got"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["data", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


@pytest.mark.usefixtures("here")
def test_damaged_latents_and_a_damaged_run_are_named(tmp_path: Path, run: Path) -> None:
    plan = plan_of(tiny_episodes(tmp_path / "data", count=1, samples=5), run, tmp_path / "latents", 2, {})
    manifest = made(plan)
    index, about = plan.shard(0).with_suffix(".json"), json.loads(manifest.read_text())
    for text, said in (
        ("{", "cannot be read as JSON"),
        ('{"clips": [{}]}', "it has no 'length'"),
        (None, "No such file"),
    ):
        whole = index.read_text()
        index.unlink() if text is None else index.write_text(text)
        with pytest.raises(DatasetError, match=rf"latents-000000\.json: .*{said}"):
            open_latents(plan.out)
        index.write_text(whole)
    for text, said in (
        (json.dumps(about)[:30], "cannot be read as JSON"),
        (json.dumps(about | {"shards": {}}), "no clip"),
    ):
        manifest.write_text(text)
        with pytest.raises(DatasetError, match=rf"latents\.json: .*{said}"):
            open_latents(plan.out)
    other = asdict(replace(tiny_config(), autoencoder=AutoencoderConfig(channels=(8, 16, 16))))
    for text in ("{", "[]", "{}", json.dumps({"config": other})):
        (run / "run.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"run\.json|autoencoder\.safetensors"):
            load_autoencoder(run)
    (run / "run.json").write_text(json.dumps({"config": asdict(tiny_config())}))
    load_autoencoder(run)
    (run / "autoencoder.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"autoencoder\.safetensors: cannot be read as weights"):
        load_autoencoder(run)


def test_a_policys_folder_has_the_same_autoencoder_in_half_precision(tmp_path: Path, run: Path) -> None:
    tiny_checkpoint(tmp_path / "policy")
    data = tiny_episodes(tmp_path / "data", count=1, samples=2)
    of_run, of_policy = (plan_of(data, folder, tmp_path / "l", 1, {}) for folder in (run, tmp_path / "policy"))
    assert of_run.autoencoder == of_policy.autoencoder
    weights = halves(tiny_config())[0].gfdm.autoencoder.state_dict()
    assert fingerprint({k: v.half() for k, v in weights.items()}) == fingerprint(weights) == of_run.autoencoder


def test_folder_without_an_autoencoder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"neither a checkpoint .* `defi train autoencoder --out` makes the latter"
    ):
        plan_of(tiny_episodes(tmp_path / "data", count=1), tmp_path, tmp_path / "l", 1, {})


@pytest.mark.slow
@pytest.mark.parametrize("where", [[], ["--ray", "local"]], ids=["two processes", "two Ray workers"])
def test_shards_made_by_two_workers_are_the_same(tmp_path: Path, run: Path, where: list[str]) -> None:
    if where:
        pytest.importorskip("ray.data", reason="Ray is not installed: pip install -r requirements/development.txt")
    data = tiny_episodes(tmp_path / "data", count=4, samples=3)
    command = ["data", "encode", "--data", str(data), "--model", str(run), "--jobs", "2", "--clips-per-shard", "1"]
    assert main([*command, "--out", str(tmp_path / "a"), *where]) == 0
    frames = open_latents(tmp_path / "a")
    assert frames.encoded is not None
    plan = plan_of(data, run, tmp_path / "b", 1, {})
    plan.out.mkdir()
    for number in range(4):
        write_shard(plan, number)
        here, there = plan.shard(number), tmp_path / "a" / plan.shard(number).name
        assert json.loads(here.with_suffix(".json").read_text()) == json.loads(there.with_suffix(".json").read_text())
        assert here.stat().st_size == there.stat().st_size
    again = encode(plan, jobs=1, ray_address=None, tolerated=0.0, progress=lambda *_: None)  # all shards are there
    expected = open_latents(again.parent).encoded
    assert expected is not None
    rows, cameras = np.arange(12)[:, None], np.arange(2)
    np.testing.assert_allclose(frames.encoded.latents[rows, cameras], expected.latents[rows, cameras], atol=2e-3)


def test_info_says_what_a_folder_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.mp4", shades(20), 10)
    write_video(tmp_path / "b.webm", shades(10), 10, "libvpx-vp9")
    (tmp_path / "b.txt").write_text("wave")
    (tmp_path / "c.mp4").write_bytes(b"not a video")
    assert main(["data", "info", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "kind       videos\nclips      3, of which 3 were read\nsamples    30, 0.1 min, 1.5 s a clip\n" in told
    assert "actions    0 of 2 clips: --video only\nsentences  1 different; 1 clips have none" in told
    assert "damaged    c.mp4: " in told
