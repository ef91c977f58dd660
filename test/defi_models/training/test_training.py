"""Training a few steps: every stage, from episodes to a policy; resuming; clear refusals."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from footage import shades, write_lerobot, write_video
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import WORDS, KilledError, tiny_base_config, tiny_checkpoint, tiny_config, tiny_episodes

from defi_models.checkpoint import read_checkpoint
from defi_models.cli import main
from defi_models.config import AutoencoderConfig, DefiConfig
from defi_models.contract import ConfigError, Observation, Proprioception
from defi_models.datasets.episodes import DatasetError, episode_files, load_episode, save_episode
from defi_models.datasets.frames import Encoded
from defi_models.datasets.mixture import mixed
from defi_models.datasets.packing import open_frames
from defi_models.inference.load import load_policy
from defi_models.training.command import is_done
from defi_models.training.loop import Step, TrainingError, fit, learning_rate
from defi_models.training.presets import FROZEN_NOTHING, STAGES, Preset, Schedule, preset, with_changes
from defi_models.training.stages import STAGE_FUNCTIONS, Run
from defi_models.training.start import Start
from defi_models.training.state import forget

CAMERAS = ("static", "wrist")
SCHEDULE = Schedule(steps=6, batch=4, learning_rate=1e-2)
TINY = Preset(
    name="tiny",
    model=lambda words: replace(tiny_config(), text=replace(tiny_config().text, words=words or WORDS)),
    schedules={stage: Schedule(steps=2, batch=2, learning_rate=1e-3) for stage in STAGES},
    windows=8,
)


def test_all_stages_make_a_policy_that_runs(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    lines: list[str] = []
    for stage in STAGES:
        STAGE_FUNCTIONS[stage](Run(TINY, frames, tmp_path, 0, "franka_panda", lines.append))
    policy = load_policy(str(tmp_path / "checkpoint"))
    assert policy.spec.name == "tiny"
    assert any("held-out" in line for line in lines)


def train_all(preset: Preset, out: Path, data: Path, stages: tuple[str, ...] = STAGES) -> list[str]:
    lines: list[str] = []
    frames = open_frames(data, CAMERAS, 32)
    for stage in stages:
        STAGE_FUNCTIONS[stage](Run(preset, frames, out, 0, "franka_panda", lines.append))
    return lines


def changed(out: Path, stage: str, before: str) -> set[str]:
    """Which weights of the checkpoint's forward half differ from those that `before` left, by their first two parts."""
    old = load_file(str(out / f"{before}.safetensors"))
    new = load_file(str(out / "checkpoint" / "forward.safetensors"))
    return {".".join(name.split(".")[:2]) for name, t in new.items() if not torch.equal(t, old[name].half())}


def test_the_preset_chooses_what_the_policy_stage_leaves_as_it_is(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    train_all(TINY, tmp_path / "a", data)
    assert changed(tmp_path / "a", "policy", "gfdm") == set()
    everything = replace(TINY, frozen=FROZEN_NOTHING)
    train_all(everything, tmp_path / "b", data)
    assert changed(tmp_path / "b", "policy", "gfdm") == {"gfdm.backbone", "gfdm.text"}
    assert load_policy(str(tmp_path / "b" / "checkpoint")).spec.name == "tiny"


def test_finetuning_begins_with_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    train_all(TINY, tmp_path / "a", tiny_episodes(tmp_path / "data"))
    still = {stage: replace(one, learning_rate=0.0) for stage, one in TINY.schedules.items()}
    frames = replace(open_frames(tmp_path / "data", CAMERAS, 32), instructions=(("shut the lid",),) * 3)
    start = Start(tmp_path / "a" / "checkpoint")
    (tmp_path / "b").mkdir()
    run = Run(replace(TINY, schedules=still), frames, tmp_path / "b", 1, "franka_panda", lambda _: None, start=start)
    STAGE_FUNCTIONS["policy"](run)
    for file in ("forward.safetensors", "inverse.safetensors"):
        before, after = (load_file(str(tmp_path / name / "checkpoint" / file)) for name in ("a", "b"))
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert read_checkpoint(tmp_path / "b" / "checkpoint").provenance["start"] == start.checkpoint.fingerprint


def test_start_of_another_size_is_refused_with_both_presets(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "start")
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)

    def wider(words: tuple[str, ...]) -> DefiConfig:
        return replace(TINY.model(words), gidm=replace(tiny_config().gidm, width=32))

    run = Run(
        replace(TINY, model=wider), frames, tmp_path / "run", 0, "franka_panda", print, start=Start(tmp_path / "start")
    )
    with pytest.raises(TrainingError, match=r"start: got a model of preset 'tiny' that does not fit preset 'tiny'"):
        STAGE_FUNCTIONS["policy"](run)


def test_model_with_published_encoders_needs_a_start(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs requirements/base.txt")
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    run = Run(replace(TINY, model=lambda _: tiny_base_config()), frames, tmp_path / "run", 0, "franka_panda", print)
    with pytest.raises(TrainingError, match="got no weights for its published encoders, expected --start FOLDER"):
        STAGE_FUNCTIONS["gfdm"](run)


@pytest.mark.slow
def test_the_papers_model_is_finetuned_in_all_its_stages(tmp_path: Path) -> None:
    """SVD's UNet and autoencoder, CLIP, T5 and DINOv2, each tiny; the encoders stay as they were published."""
    pytest.importorskip("diffusers", reason="needs requirements/base.txt")
    from defi_models.models.pretrained import Dino

    config = tiny_base_config()
    start = Start(tiny_checkpoint(tmp_path / "start", config=config).folder)
    assert config.gidm.dino is not None
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    dino = Dino(config.gidm.dino).state_dict()
    save_file({k: v.contiguous() for k, v in dino.items()}, str(run_folder / "dino.safetensors"))
    size, stages = config.gfdm.image_size, ("gfdm", "gidm", "policy")
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, size, step_ns=100_000_000)
    preset = replace(TINY, model=lambda _: config, schedules={stage: TINY.schedules[stage] for stage in stages})
    for stage in stages:
        STAGE_FUNCTIONS[stage](Run(preset, frames, run_folder, 0, "franka_panda", lambda _: None, start=start))
    before, after = start.weights("gfdm"), load_file(str(run_folder / "gfdm.safetensors"))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved} == {"backbone"}
    policy = load_policy(str(tmp_path / "run" / "checkpoint"))
    assert policy.spec.feature_shape == config.feature_shape


def test_stages_of_a_run_may_have_other_data(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4", shades(20), 10)
    demonstrations = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    video = open_frames(tmp_path / "v", CAMERAS, 32, step_ns=100_000_000, video=True)
    both = mixed([(demonstrations, None), (video, 0.5)])
    stages = {"autoencoder": both, "gfdm": both, "gidm": video, "policy": demonstrations}
    for stage, frames in stages.items():
        run = Run(TINY, frames, tmp_path / "run", 0, "franka_panda", lambda _: None)
        run.describe(stage)
        STAGE_FUNCTIONS[stage](run)
    assert len(list((tmp_path / "run").glob("latents*.npy"))) == 3
    assert load_policy(str(tmp_path / "run" / "checkpoint")).spec.name == "tiny"


def test_latents_and_features_are_made_again_when_what_they_are_made_of_changes(tmp_path: Path) -> None:
    """A stage trained again left those of the weights before it, and nobody was told."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    frames = open_frames(data, CAMERAS, 32)

    def train(seed: int, *stages: str) -> tuple[bytes, bytes]:
        for stage in stages:
            STAGE_FUNCTIONS[stage](Run(TINY, frames, out, seed, "franka_panda", lambda _: None))
        return (out / "latents.npy").read_bytes(), (out / "features.npy").read_bytes()

    first = train(0, *STAGES)
    kept = [(out / name).stat().st_mtime_ns for name in ("latents.npy", "features.npy")]
    assert train(0, "policy") == first
    assert [(out / name).stat().st_mtime_ns for name in ("latents.npy", "features.npy")] == kept
    other_windows = train(1, "policy")
    assert other_windows[0] == first[0]
    assert other_windows[1] != first[1]
    again = train(1, "autoencoder", "gfdm", "policy")
    assert again[0] != first[0]
    assert again[1] != other_windows[1]


def test_images_are_packed_again_when_other_cameras_or_clips_are_meant(tmp_path: Path) -> None:
    """The camera of the first call stayed that of every later one."""
    data = tiny_episodes(tmp_path / "data", cameras=("static", "wrist", "front"))
    first = np.array(open_frames(data, CAMERAS, 32).pixels)
    swapped = open_frames(data, CAMERAS, 32, renamed={"front": "static", "static": "unused"})
    assert not np.array_equal(swapped.pixels[:, 0], first[:, 0])
    np.testing.assert_array_equal(swapped.pixels[:, 1], first[:, 1])
    turned = open_frames(data, ("wrist", "static"), 32)
    assert turned.cameras == ("wrist", "static")
    np.testing.assert_array_equal(turned.pixels[:, 0], first[:, 1])
    (data / "episode_000000.npz").rename(data / "episode_000009.npz")  # as many clips, in another order
    np.testing.assert_array_equal(open_frames(data, CAMERAS, 32).pixels[-12:], first[:12])


def test_data_in_a_folder_that_cannot_be_written_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError("read-only file system")

    data = tiny_episodes(tmp_path / "data")
    monkeypatch.setattr("defi_models.datasets.packing.tempfile.mkdtemp", refuse)
    with pytest.raises(DatasetError, match=r"cannot be written \(read-only file system\).*packed beside the data"):
        open_frames(data, CAMERAS, 32)


def test_arrays_packed_by_an_older_version_are_packed_again(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    open_frames(data, CAMERAS, 32)
    meta = data / "packed_32" / "frames.json"
    made = (data / "packed_32" / "pixels.npy").stat().st_ino
    open_frames(data, CAMERAS, 32)
    assert (data / "packed_32" / "pixels.npy").stat().st_ino == made
    older = {key: value for key, value in json.loads(meta.read_text()).items() if key not in {"made_of", "failed"}}
    meta.write_text(json.dumps(older))
    open_frames(data, CAMERAS, 32)
    assert (data / "packed_32" / "pixels.npy").stat().st_ino != made


def test_frozen_part_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    wrong = replace(TINY, frozen={"autoencoder": ("autoencoder.decoderr",)})
    with pytest.raises(
        ConfigError, match=r"frozen part 'autoencoder\.decoderr' in stage autoencoder, .*autoencoder\.dec"
    ):
        train_all(wrong, tmp_path, tiny_episodes(tmp_path / "data"), ("autoencoder",))


def test_features_too_large_to_store_are_computed_in_every_step_and_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_episodes(tmp_path / "data")
    stored = train_all(TINY, tmp_path / "a", data)[-1]
    monkeypatch.setattr("defi_models.training.policy_stage.STORED_AT_MOST_BYTES", 0)
    live = train_all(TINY, tmp_path / "b", data)[-1]
    assert not (tmp_path / "b" / "features.npy").exists()
    figures = [ast.literal_eval(line.partition(": ")[2])["held_out_translation_mm"] for line in (stored, live)]
    assert figures[0] == pytest.approx(figures[1], rel=0.05)  # stored ones are rounded to half precision


def test_curves_and_pictures_lie_in_the_run_while_it_trains(tmp_path: Path) -> None:
    train_all(TINY, tmp_path, tiny_episodes(tmp_path / "data"))
    for stage, name in (("autoencoder", "rebuilt"), ("gfdm", "imagined"), ("gidm", "codes_used")):
        picture = cv2.imread(str(tmp_path / "pictures" / stage / f"{name}_0000002.png"))
        assert picture is not None
        assert picture.std() > 0
        accumulator = EventAccumulator(str(tmp_path / "curves" / stage)).Reload()
        assert [event.step for event in accumulator.Scalars("loss")] == [2]
        assert accumulator.Tags()["images"] == [name]


def test_latents_of_another_autoencoder_are_refused(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    train_all(TINY, tmp_path, data, ("autoencoder",))
    frames = open_frames(data, CAMERAS, 32)
    shape = (4, 4, 4)
    strange = replace(frames, encoded=Encoded(np.zeros((len(frames), 2, *shape), np.float16), "feedbeef", shape))
    with pytest.raises(
        TrainingError, match=r"got latents of autoencoder feedbeef, expected .*defi data encode --model"
    ):
        STAGE_FUNCTIONS["gfdm"](Run(TINY, strange, tmp_path, 0, "franka_panda", lambda _: None))


def test_words_of_the_first_stage_stay_those_of_the_run(tmp_path: Path) -> None:
    lines: list[str] = []
    data = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    first = Run(TINY, data, tmp_path / "run", 0, "franka_panda", lines.append)
    first.describe("autoencoder")
    other = replace(data, instructions=(("close the lid",),) * 3)
    second = replace(first, frames=other)
    second.describe("gfdm")
    assert second.config == first.config
    assert lines == ["2 words of these data are none of the run's: close, lid; give all data to its first stage to have "
                     "them learnt"]  # fmt: skip


def test_stage_of_another_preset_is_refused_by_the_next(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    train_all(TINY, tmp_path, data, ("autoencoder",))

    def wider(words: tuple[str, ...]) -> DefiConfig:
        return replace(TINY.model(words), autoencoder=AutoencoderConfig(channels=(8, 8, 24)))

    with pytest.raises(TrainingError, match=r"autoencoder\.safetensors: does not fit preset 'tiny' and these data"):
        train_all(replace(TINY, model=wider), tmp_path, data, ("gfdm",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy", "--video", "v"], "got only --video, expected demonstrations"),
        (["gfdm"], "got no data, expected --data"),
        (["policy", "--latents", "l"], "expected it alone, for stage gfdm or gidm"),
        (["gfdm", "--data", "d=much"], "got 'd=much', expected FOLDER or FOLDER=WEIGHT"),
        (["gfdm", "--data", "d", "--camera", "front"], "got 'front', expected WANTED=ITS_NAME"),
        (
            ["autoencoder", "--data", "d", "--preset", "base"],
            "which trains gfdm, gidm, policy; its autoencoder is published",
        ),
        (["gfdm", "--data", "d", "--preset", "nanno"], "Did you mean 'nano'"),
        (["all", "--data", "d", "--steps", "3"], "--steps: got 3 for 'all', expected a number of steps for one stage"),
        (["gfdm", "--data", "d"], "d: got no such folder"),
        (["gfdm", "--data", "d", "--processes", "0"], "--processes: got 0, expected at least 1"),
        (["gfdm", "--data", "d", "--accumulate", "-1"], "--accumulate: got -1, expected at least 0"),
        (["gfdm", "--data", "d", "--seed", "-1"], "--seed: got -1, expected at least 0"),
        (["gfdm", "--data", "d", "--max-damaged", "5"], "--max-damaged: got 5.0, expected a share in 0..1"),
        (["gfdm", "--data", "d", "--seed", str(2**63)], f"--seed: got {2**63}, expected at most {2**63 - 1}"),
        (["gfdm", "--data", "d", "--arm", "my arm"], "--arm: got 'my arm', expected a name of letters, digits and _"),
        (["gfdm", "--data", "d", "--out", f"{__file__}/x"], "expected a folder that can be written to"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *([] if "--out" in arguments else ["--out", "run"]), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_sentence_too_long_for_the_model_is_refused_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was met at whatever step first drew it, hours into a run."""
    data = tiny_episodes(tmp_path / "data")
    path = episode_files(data)[2]
    said = "open the drawer, then close it, and open it once more, slowly, please"
    save_episode(replace(load_episode(path), instructions=("open the drawer", said)), path)
    assert main(["train", "gfdm", "--preset", "test", "--data", str(data), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "got 13 words" in told and said in told and "expected at most 12" in told
    assert not (tmp_path / "run").exists()


def test_all_stages_done_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    for stage in STAGES:
        (run / f"{stage}.safetensors").touch()
    assert not is_done(run, "policy")  # without a checkpoint there is no policy
    (run / "checkpoint").mkdir()
    assert main(["train", "all", "--preset", "test", "--data", str(data), "--out", str(run)]) == 0
    assert "every stage is done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["action_encoding=joint_positions", "action_width=9"], "got action_width 9, expected 8 for joint_positions"),
        (["text.max_words=2"], "got 3 words in 'open the drawer', expected at most 2"),
    ],
)
def test_what_only_the_last_stage_would_find_is_found_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    """Hours of training came before the error."""
    data = tiny_episodes(tmp_path / "data")
    where = ["--data", str(data), "--out", str(tmp_path / "run")]
    assert main(["train", "all", "--preset", "test", "--set", *changes, *where]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_refused_command_leaves_a_runs_description_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was rewritten for the model that was refused; `defi data encode` and the next stage then read that."""
    out = tmp_path / "run"
    run = Run(preset("test"), open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32), out, 0, "franka_panda", print)
    run.describe("autoencoder")
    before = (out / "run.json").read_text()
    command = ["--data", str(tmp_path / "data"), "--out", str(out)]
    for stage in ("autoencoder", "gfdm"):
        assert main(["train", stage, "--preset", "test", "--set", "gfdm.width=64", "chunk_steps=7", *command]) == 2
        assert (
            "got preset 'test' with chunk_steps 7 instead of 10, gfdm.width 64 instead of 128"
            in capsys.readouterr().err
        )
    assert main(["train", "gfdm", "--preset", "test", *command]) == 2
    assert "autoencoder.safetensors is missing" in capsys.readouterr().err
    assert main(["train", "autoencoder", "--preset", "test", "--start", str(tmp_path), *command]) == 2
    assert (out / "run.json").read_text() == before
    (out / "run.json").write_text(before[:40])
    assert main(["train", "gfdm", "--preset", "test", *command]) == 2
    assert "run.json: cannot be read as JSON" in capsys.readouterr().err


def test_what_the_loop_of_a_later_stage_would_refuse_is_found_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too many passes for the smaller batch of the next stage were met after the first, with its vocabulary written."""
    where = ["--data", str(tiny_episodes(tmp_path / "data")), "--out", str(tmp_path / "run"), "--preset", "test"]
    assert main(["train", "all", *where, "--accumulate", "3"]) == 2
    assert "batch: got 2 samples for 1 processes x 3 accumulated passes" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["train", "all", *where, "--precision", "fp16"]) == 2
        assert "'fp16' without CUDA" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def run_of_other_words(out: Path, data: Path) -> dict[str, Any]:
    """Describes a run with as many words as the data have, but others; what it says."""
    run = Run(preset("test"), open_frames(data, CAMERAS, 32), out, 0, "franka_panda", print)
    run.describe("autoencoder")
    about = json.loads((out / "run.json").read_text())
    about["config"]["text"]["words"] = ["a", "button", "press"]
    (out / "run.json").write_text(json.dumps(about))
    return about


def test_a_folder_of_other_words_takes_no_checkpoint_to_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many words fit the weights, whose words meant others."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    run_of_other_words(out, data)
    start = tiny_checkpoint(tmp_path / "start").folder
    command = ["train", "gfdm", "--preset", "test", "--data", str(data), "--out", str(out), "--start", str(start)]
    assert main(command) == 2
    assert "got the vocabulary of --start" in capsys.readouterr().err


def test_a_first_stage_with_other_words_is_refused_where_later_ones_know_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were then loaded with words that meant others."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    about = run_of_other_words(out, data)
    (out / "gfdm.safetensors").touch()
    command = ["train", "autoencoder", "--preset", "test", "--data", str(data), "--out", str(out)]
    assert main(command) == 2
    assert "other words than its stages ['gfdm'] know" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text()) == about


def test_seeds_of_any_size_differ_by_step_and_sample() -> None:
    """Seeds above some four thousand million overflowed."""
    cpu = torch.device("cpu")
    steps = [Step(seed, index, 2, slice(0, 2), cpu) for seed in (0, 4_000_000_000, 2**63 - 1) for index in (0, 1)]
    found = [float(noise) for step in steps for noise in step.normal()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("killed_in", ["held_out", "_assemble", "write_checkpoint"])
def test_a_kill_after_the_last_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    """The state was gone before the weights were written, and weights without a checkpoint were called done."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    train_all(TINY, out, data)
    weights, checkpoint = (out / "policy.safetensors").read_bytes(), read_checkpoint(out / "checkpoint").hashes
    (out / "policy.safetensors").unlink()
    shutil.rmtree(out / "checkpoint")

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(f"defi_models.training.policy_stage.{killed_in}", kill)
        train_all(TINY, out, data, ("policy",))
    assert (out / "policy.state").is_file() and not is_done(out, "policy")
    monkeypatch.setattr("defi_models.training.loop._gradients", kill)  # no step is left to do
    train_all(TINY, out, data, ("policy",))
    assert is_done(out, "policy") and not (out / "policy.state").exists()
    assert (out / "policy.safetensors").read_bytes() == weights
    assert read_checkpoint(out / "checkpoint").hashes == checkpoint


def test_a_stage_takes_as_many_steps_as_asked(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    arguments = ["autoencoder", "--preset", "test", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "1"]
    assert main(["train", *arguments]) == 0
    figures = json.loads((tmp_path / "run" / "autoencoder.figures.json").read_text())
    assert figures["steps"] == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"ee_pose": np.full((12, 7), np.nan)}, "got ee_pose that is not finite in sample 0"),
        ({"gripper": np.zeros(11)}, r"got gripper of shape \(11,\), expected \(12,\)"),
        (
            {"images": {"static": np.zeros((12, 8, 8), np.uint8)}},
            r"got uint8 images of shape \(12, 8, 8\) from camera static",
        ),
        ({"images": {}}, "got cameras \\[\\]"),
        ({"step_ns": 0}, "a step of 0 ns"),
        ({"ee_pose": np.zeros((12, 7))}, "got ee_pose of norm 0 in sample 0, expected norm 1"),
        ({"target_pose": np.tile([0, 0, 0, 0, 0, 0, 2.0], (12, 1))}, "got target_pose of norm 2 in sample 0"),
        ({"gripper": np.linspace(0, 100, 12)}, r"got gripper of opening 9\.09 in sample 1, expected opening 0\.\.1"),
    ],
)
def test_episode_that_cannot_be_is_refused(tmp_path: Path, damage: dict, message: str) -> None:
    episode = load_episode(episode_files(tiny_episodes(tmp_path, count=1))[0])
    with pytest.raises(DatasetError, match=message):
        replace(episode, **damage)


def test_stage_without_the_one_before_names_it(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path / "data"), CAMERAS, 32)
    with pytest.raises(TrainingError, match=r"autoencoder\.safetensors is missing: run `defi train autoencoder`"):
        STAGE_FUNCTIONS["gfdm"](Run(TINY, frames, tmp_path, 0, "franka_panda", lambda _: None))


def run_fit(out: Path, stop_at: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, dict[str, float]]:
    monkeypatch.setattr("defi_models.training.loop.SAVE_EVERY_S", 0.0)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
    counted = torch.zeros(())
    module.register_buffer("counted", counted)

    def loss(step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        if step.index == stop_at:
            raise KilledError
        counted.add_(step.count)
        x = torch.from_numpy(step.rng.normal(size=(4, 3)))[step.own].float() + step.normal(3)
        return module(x).square().mean(), {"counted": counted.item()}

    schedule = replace(SCHEDULE, steps=20, accumulate=2)
    figures = fit(module, loss, schedule, out / "run", seed=3)
    return torch.cat([p.flatten() for p in module.parameters()]), figures


def test_a_killed_and_resumed_run_equals_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, figures = run_fit(tmp_path / "a", None, monkeypatch)
    for kill_at in (4, 19):  # the second within the last tenth, which the figures are of
        with pytest.raises(KilledError):
            run_fit(tmp_path / "b", kill_at, monkeypatch)
        assert os.listdir(tmp_path / "b") == ["run.state"]
        again, figures_again = run_fit(tmp_path / "b", None, monkeypatch)
        torch.testing.assert_close(again, whole, rtol=0, atol=0)
        assert figures_again == figures
        assert os.listdir(tmp_path / "b") == ["run.state"]  # until what was trained is in its place
        after_the_end, figures_again = run_fit(tmp_path / "b", 0, monkeypatch)  # no step is done again
        torch.testing.assert_close(after_the_end, whole, rtol=0, atol=0)
        assert figures_again == figures
        forget(tmp_path / "b" / "run")
        assert os.listdir(tmp_path / "b") == []


def test_state_of_another_model_is_refused_with_the_first_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    other = torch.nn.Linear(2, 1)
    with pytest.raises(
        TrainingError, match=r"belongs to another model: 6 weights differ, the first is weight\.0\.bias"
    ):
        fit(other, lambda _: (other.weight.sum(), {}), SCHEDULE, tmp_path / "run", seed=3)


def test_state_of_a_run_with_another_seed_is_refused_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    state = load_file(str(tmp_path / "run.state"))
    save_file(state, str(tmp_path / "run.state"), metadata={"step": "4", "seed": "7"})
    with pytest.raises(TrainingError, match=r"belongs to a run with seed 7, got \d+; give that, or delete it"):
        run_fit(tmp_path, None, monkeypatch)


def test_a_killed_stage_goes_on_with_its_own_model_data_and_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer --steps than were done it said that it had done these; with other data it went on and told nobody."""
    data, out = tiny_episodes(tmp_path / "data"), tmp_path / "run"
    five = replace(TINY, schedules={"autoencoder": replace(TINY.schedules["autoencoder"], steps=5)})
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr("defi_models.training.run.save_whole", raising(KilledError))
        train_all(five, out, data, ("autoencoder",))
    state = (out / "autoencoder.state").read_bytes()
    with pytest.raises(TrainingError, match=r"autoencoder\.state: 5 steps are done, got a run of 2; give more --steps"):
        train_all(TINY, out, data, ("autoencoder",))
    (data / "episode_000003.npz").write_bytes((data / "episode_000000.npz").read_bytes())
    with pytest.raises(TrainingError, match=r"belongs to a run with data .*, got "):
        train_all(five, out, data, ("autoencoder",))
    (data / "episode_000003.npz").unlink()
    assert (out / "autoencoder.state").read_bytes() == state
    seven = replace(TINY, schedules={"autoencoder": replace(TINY.schedules["autoencoder"], steps=7)})
    told = train_all(seven, out, data, ("autoencoder",))
    assert told[0] == "goes on at step 5 of a run of 5 steps, with 7 now"
    assert json.loads((out / "autoencoder.figures.json").read_text())["steps"] == 7


def test_a_state_that_says_less_of_whose_it_is_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of an older version."""
    whole, _ = run_fit(tmp_path / "a", None, monkeypatch)
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    with safe_open(str(tmp_path / "run.state"), framework="pt") as file:
        header = file.metadata()
    older = {name: header[name] for name in ("step", "history", "seed", "batch")}
    save_file(load_file(str(tmp_path / "run.state")), str(tmp_path / "run.state"), metadata=older)
    torch.testing.assert_close(run_fit(tmp_path, None, monkeypatch)[0], whole, rtol=0, atol=0)


def raising(error: type[Exception]) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


def test_half_written_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KilledError):
        run_fit(tmp_path, 4, monkeypatch)
    state = tmp_path / "run.state"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"run\.state: cannot be read .* delete it to begin the stage anew"):
        run_fit(tmp_path, None, monkeypatch)


def test_loss_that_is_not_finite_stops_with_the_step(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        fit(module, lambda _: (module.weight.sum() * float("nan"), {}), SCHEDULE, tmp_path / "x", seed=0)


def test_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    schedule = Schedule(steps=1000, batch=1, learning_rate=1.0)
    rates = [learning_rate(schedule, step) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no training preset 'nanno'\. Did you mean 'nano'"):
        preset("nanno")


def test_numbers_of_a_preset_are_changed_by_name() -> None:
    wanted = ["action_encoding=joint_positions", "action_width=8", "cameras=static", "gfdm.image_size=64"]
    config = with_changes(
        TINY, [*wanted, "horizon_steps=2", "decoder.dropout=0.5", "decoder.causal_context=true"]
    ).model(())
    assert (config.action_encoding, config.action_width, config.cameras) == ("joint_positions", 8, ("static",))
    assert (config.gfdm.image_size, config.horizon_steps, config.decoder.dropout) == (64, 2, 0.5)
    assert config.decoder.causal_context and config.text == TINY.model(()).text
    assert with_changes(TINY, []) is TINY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("chunk_stps=3", r"DefiConfig: got no field 'chunk_stps', expected one of .*; did you mean 'chunk_steps'\?"),
        ("gfdm.size=3", r"GfdmConfig: got no field 'size', expected one of \['image_size'"),
        ("gfdm=3", r"DefiConfig.gfdm: got a value for the whole, expected one of \['image_size'"),
        ("goal_frame.x=3", "got 'goal_frame.x', expected no part of it"),
        ("chunk_steps=many", "chunk_steps: got 'many', expected a whole number"),
        ("causal=1", "got no field 'causal'"),
        ("decoder.causal_context=1", "got '1', expected true or false"),
        ("chunk_steps", "--set: got 'chunk_steps', expected NAME=VALUE"),
        ("action_width=8", "got 8 numbers an action, expected 7 for relative_pose"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_name(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_changes(TINY, [change])


def test_a_policy_of_joints_alone_learns_from_lerobot_and_reads_joints(tmp_path: Path) -> None:
    data = write_lerobot(tmp_path / "data", lengths=(30, 34), rate_hz=10, layout="joints")
    (data / "meta" / "units.json").write_text('{"joints": "degrees"}')
    in_joints = with_changes(TINY, ["action_encoding=joint_positions", "action_width=8", "proprioception_width=8"])
    frames = open_frames(data, CAMERAS, 32, renamed={"front": "static", "hand": "wrist"})
    for stage in STAGES:
        STAGE_FUNCTIONS[stage](Run(in_joints, frames, tmp_path / "run", 0, "so101", lambda _: None))
    policy = load_policy(str(tmp_path / "run" / "checkpoint"))
    assert (policy.spec.space, policy.spec.joints) == ("joint_positions", 7)
    imagination = policy.imagine(Observation(1, dict.fromkeys(CAMERAS, np.zeros((32, 32, 3), np.uint8)), "x"))
    pose = np.array([0, 0, 0, 1.0, 0, 0, 0])
    here, there = (policy.act(imagination, Proprioception(1, np.full(7, at), pose, 0.5)) for at in (0.0, 0.5))
    assert here.targets.shape[1] == 7 and not np.array_equal(here.targets, there.targets)
    far = policy.act(imagination, Proprioception(1, np.zeros(7), np.array([9.0, 0, 0, 1.0, 0, 0, 0]), 0.5))
    np.testing.assert_array_equal(here.targets, far.targets)


def test_a_policy_in_joints_learns_where_the_joints_came_to_be(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path / "data")
    in_joints = with_changes(TINY, ["action_encoding=joint_positions", "action_width=8"])
    train_all(in_joints, tmp_path / "run", data)
    spec = load_policy(str(tmp_path / "run" / "checkpoint")).spec
    assert (spec.space, spec.joints) == ("joint_positions", 7)
    frames = open_frames(data, CAMERAS, 32)
    np.testing.assert_allclose(frames.action(1, 3, "joint_positions")[:, :7], frames.joint_positions[1:4])
    six = with_changes(TINY, ["action_encoding=joint_positions", "action_width=7"])
    with pytest.raises(ConfigError, match="got action_width 7, expected 8 for joint_positions"):
        train_all(six, tmp_path / "other", data)
    unknown = replace(frames, joint_positions=np.zeros((len(frames), 0)))
    with pytest.raises(DatasetError, match="got data without joint positions"):
        unknown.action(1, 3, "joint_positions")
    both = mixed([(frames, None), (unknown, None)])
    np.testing.assert_allclose(both.action(1, 3, "joint_positions"), frames.action(1, 3, "joint_positions"))
    with pytest.raises(DatasetError, match="got data without joint positions"):
        both.action(len(frames), 3, "joint_positions")


def test_windows_are_held_at_the_end_of_their_episode(tmp_path: Path) -> None:
    frames = open_frames(tiny_episodes(tmp_path, count=2, samples=5), CAMERAS, 32)
    np.testing.assert_array_equal(frames.clip(np.array([3, 6]), np.arange(4)), [[3, 4, 4, 4], [6, 7, 8, 9]])
    action = frames.action(4, 3)
    np.testing.assert_allclose(action[:, 0], 0.01)
    np.testing.assert_allclose(action[:, 6], -1.0)


def test_pixels_are_those_of_the_episode(tmp_path: Path) -> None:
    folder = tiny_episodes(tmp_path, count=1, samples=3)
    frames = open_frames(folder, CAMERAS, 40)
    episode = load_episode(episode_files(folder)[0])
    np.testing.assert_array_equal(frames.pixels[:, 1], episode.images["wrist"])


def test_dataset_without_the_needed_camera_names_both(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no images of camera \['wrist'\]; it has \['static'\]"):
        open_frames(tiny_episodes(tmp_path, cameras=("static",)), CAMERAS, 32)


def test_empty_folder_says_how_to_make_episodes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="defi data sim"):
        open_frames(tmp_path, CAMERAS, 32)


def test_damaged_episode_is_named(tmp_path: Path) -> None:
    folder = tiny_episodes(tmp_path, count=1)
    path = episode_files(folder)[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match="cannot be read as an episode"):
        load_episode(path)
