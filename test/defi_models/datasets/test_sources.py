"""Datasets of every kind come as the same clips and episodes, and what is wrong with them is said once."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from footage import shade, shades, write_calvin, write_lerobot, write_video
from tiny import tiny_episodes

from defi_models.datasets.episodes import Clip, DatasetError, Episode, load_episode, save_episode
from defi_models.datasets.frames import UNSAID, Frames
from defi_models.datasets.mixture import mixed
from defi_models.datasets.packing import open_frames
from defi_models.datasets.sources import open_source

STEP_NS = 100_000_000
CAMERAS = ("static", "wrist")


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_video_is_sampled_at_the_time_asked_for(tmp_path: Path, ending: str, codec: str) -> None:
    write_video(tmp_path / "inner" / f"a.{ending}", shades(31), 30, codec)
    source = open_source(tmp_path)
    clip = source.read(source.names()[0], STEP_NS)
    assert not isinstance(clip, Episode)
    assert [shade(image) for image in clip.images["video"]] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30]


def test_video_as_it_is_has_the_rate_of_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", shades(12), 25)
    clip = open_source(tmp_path).read("a.mp4")
    assert (clip.step_ns, len(clip)) == (40_000_000, 12)


def test_captions_come_from_one_file_or_from_beside_the_clip(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", shades(4), 10)
    (tmp_path / "captions.json").write_text(json.dumps({"a.mp4": ["wave", "wave a hand"]}))
    (tmp_path / "b.txt").write_text("push a cup\n\n")
    source = open_source(tmp_path)
    said = [source.read(name, STEP_NS).instructions for name in source.names()]
    assert said == [("wave", "wave a hand"), ("push a cup",), ()]


def test_damaged_captions_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", shades(4), 10)
    (tmp_path / "captions.json").write_text("[1, 2]")
    with pytest.raises(DatasetError, match=r"captions\.json: cannot be read as captions, \{\"clip\""):
        open_source(tmp_path)


def test_image_sequences_are_clips_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, first in (("walk", 0), ("push", 20)):
        (tmp_path / name).mkdir()
        for k, image in enumerate(shades(5, first)):
            cv2.imwrite(str(tmp_path / name / f"{k:03d}.png"), image)
    source = open_source(tmp_path)
    assert source.names() == ["push", "walk"]
    assert [shade(image) for image in source.read("push", 2 * STEP_NS).images["video"]] == [20, 22, 24]


def test_lerobot_episodes_have_their_own_frames_words_poses_and_targets(tmp_path: Path) -> None:
    source = open_source(write_lerobot(tmp_path / "l"), {"front": "static", "hand": "wrist"})
    assert source.names() == ["episode 0", "episode 1"]
    episode = source.read("episode 1", STEP_NS)  # every second of 14 samples; the first episode has 10
    assert isinstance(episode, Episode)
    assert episode.instructions == ("close the drawer",)
    assert [shade(image) for image in episode.images["static"]] == [10, 12, 14, 16, 18, 20, 22]
    np.testing.assert_allclose(episode.ee_pose[:, 0], 0.02 * np.arange(7), atol=1e-6)
    np.testing.assert_allclose(episode.target_pose[:, 0], episode.ee_pose[:, 0] + 0.01, atol=1e-6)
    assert episode.gripper[0] == 0.0
    assert set(episode.images) == {"static", "wrist"}


def test_lerobot_without_a_pose_is_action_free_and_says_so_when_actions_are_needed(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "l", layout="motors")
    assert type(open_source(folder).read("episode 0", STEP_NS)) is Clip
    with pytest.raises(DatasetError, match=r"without actions from LeRobot v3, expected a demonstration; .*--video"):
        open_frames(folder, ("front", "hand"), 32, step_ns=STEP_NS)
    assert len(open_frames(folder, ("front",), 32, step_ns=STEP_NS, video=True)) == 5 + 7


def in_units(folder: Path, text: str) -> Path:
    (folder / "meta" / "units.json").write_text(text)
    return folder


def test_lerobot_joints_are_read_in_the_units_that_a_file_of_ones_own_tells(tmp_path: Path) -> None:
    folder = in_units(write_lerobot(tmp_path / "l", layout="joints"), '{"joints": "degrees"}')
    episode = open_source(folder).read("episode 1", STEP_NS)
    assert isinstance(episode, Episode)
    np.testing.assert_allclose(episode.joint_positions[:, 0], np.radians(0.02 * np.arange(7)), atol=1e-6)
    np.testing.assert_allclose(episode.joint_positions[:, 1], np.radians(1.0))
    np.testing.assert_allclose(np.degrees(episode.target_joints - episode.joint_positions)[:, 0], 0.01, atol=1e-6)
    assert (episode.joint_positions.shape[1], episode.gripper[0], episode.gripper[-1]) == (
        7,
        0.0,
        pytest.approx(12 / 13),
    )
    assert np.isnan(episode.ee_pose).all()
    frames = open_frames(folder, ("front", "hand"), 32, step_ns=STEP_NS)
    np.testing.assert_allclose(frames.action(5, 2, "joint_positions")[:, :7], episode.target_joints[:2], atol=1e-9)
    np.testing.assert_allclose(frames.proprioception(5, in_joints=True)[:7], episode.joint_positions[0])
    with pytest.raises(DatasetError, match="action_encoding=joint_positions action_width=8 proprioception_width=8"):
        frames.action(5, 2)
    with pytest.raises(DatasetError, match="got data in joints alone, expected the tool's pose"):
        frames.proprioception(5)


def test_lerobot_joints_without_units_are_action_free_and_say_what_is_missing(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "l", layout="joints")
    assert type(open_source(folder).read("episode 0", STEP_NS)) is Clip
    with pytest.raises(DatasetError, match=r"it has joints \['shoulder_pan', .* say so in .*units.json"):
        open_frames(folder, ("front", "hand"), 32, step_ns=STEP_NS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"joints": "turns"}', r"got {'joints': 'turns'}, expected joints in one of \['radians', 'degrees'\]"),
        ('{"joints": "degrees", "gripper": [5]}', r"gripper \[closed, open\]"),
        ('{"joints": "degrees", "girpper": [0, 1]}', "'girpper'"),
        ("{", r"units\.json: cannot be read as JSON"),
        ('{"joints": "degrees", "gripper": [0, 0.5]}', "got gripper values 0 .. 2, expected 0 closed .. 1 open"),
    ],
)
def test_units_that_make_no_sense_are_refused(tmp_path: Path, text: str, said: str) -> None:
    folder = in_units(write_lerobot(tmp_path / "l", layout="joints"), text)
    with pytest.raises(DatasetError, match=said):
        open_source(folder).read("episode 0")


def test_lerobot_of_another_version_is_refused_with_both(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "l")
    info = folder / "meta" / "info.json"
    info.write_text(info.read_text().replace("v3.0", "v2.1"))
    with pytest.raises(DatasetError, match=r"got LeRobot v2\.1, expected v3\.x"):
        open_source(folder)


def test_lerobot_video_that_ends_early_names_the_frame(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "l")
    write_video(folder / "videos/observation.images.hand/chunk-000/file-000.mp4", shades(15), 20)
    with pytest.raises(DatasetError, match=r"episode 1: cannot be read .* got no frame 6 after 0\.5 s"):
        open_source(folder).read("episode 1", STEP_NS)


def test_calvin_annotations_are_episodes_with_absolute_targets(tmp_path: Path) -> None:
    source = open_source(write_calvin(tmp_path / "c"))
    episode = source.read(source.names()[0], STEP_NS)
    assert isinstance(episode, Episode)
    assert (episode.task, episode.instructions) == ("move_slider_left", ("push the sliding door",))
    assert [shade(image) for image in episode.images["static"]] == [3, 6, 9, 12, 15]  # 13 steps at 30 Hz
    np.testing.assert_allclose(episode.ee_pose[:, 0], [0.03, 0.06, 0.09, 0.12, 0.15])
    np.testing.assert_allclose(episode.target_pose[:, 0] - episode.ee_pose[:, 0], 0.01)
    np.testing.assert_allclose(episode.gripper, 0.5)
    np.testing.assert_allclose(episode.target_gripper, 0.0)


def test_calvin_without_annotations_is_one_episode_a_recording(tmp_path: Path) -> None:
    source = open_source(write_calvin(tmp_path / "c", annotated=False))
    assert source.names() == ["100..119"]
    assert source.read("100..119", STEP_NS).instructions == ()


class Trap:
    """What a hostile annotation file could hold."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_calvin_annotations_that_would_run_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_calvin(tmp_path / "c")
    np.save(folder / "lang_annotations" / "auto_lang_ann.npy", np.array(Trap(), dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"names builtins\.print"):
        open_source(folder)
    assert capsys.readouterr().out == ""
    np.load(folder / "lang_annotations" / "auto_lang_ann.npy", allow_pickle=True)
    assert capsys.readouterr().out == "unpickled\n"  # whoever reads it without care


def test_folder_with_nothing_known_lists_what_is(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DatasetError, match=r"got \['notes\.md'\], expected one of: LeRobot v3 .*CALVIN.*videos"):
        open_source(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        open_source(tmp_path / "no")


def test_few_damaged_videos_are_skipped_and_named_and_many_are_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(4):
        write_video(tmp_path / f"{n}.mp4", shades(6), 10)
    (tmp_path / "2.mp4").write_bytes((tmp_path / "2.mp4").read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"1 of 4 clips cannot be read: 2\.mp4 .*at most 5% are skipped"):
        open_frames(tmp_path, CAMERAS, 32, step_ns=STEP_NS, video=True)
    assert not list(tmp_path.glob("*packed*"))  # nothing half-done is left
    frames = open_frames(tmp_path, CAMERAS, 32, step_ns=STEP_NS, video=True, tolerated=0.3)
    assert (len(frames), frames.tasks) == (18, ("", "", ""))
    assert "1 of 4 clips cannot be read: 2.mp4" in caplog.text


def test_mixed_data_are_drawn_by_weight_each_with_its_cameras_and_words(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4", shades(20), 10)
    video = open_frames(tmp_path / "v", CAMERAS, 32, step_ns=STEP_NS, video=True)
    demonstrations = open_frames(tiny_episodes(tmp_path / "d", count=2, samples=6), CAMERAS, 32)
    both = mixed([(demonstrations, None), (video, 0.25)])
    rng = np.random.default_rng(0)
    drawn = both.choose(rng, 4000)
    assert np.mean(drawn >= len(demonstrations)) == pytest.approx(0.25, abs=0.03)
    cameras = both.choose_cameras(rng, drawn)
    assert set(cameras[drawn >= 12]) == {0}
    assert set(cameras[drawn < 12]) == {0, 1}
    np.testing.assert_array_equal(both.pixels[np.array([3, 14]), np.array([1, 0])][1], video.pixels[2, 0])
    np.testing.assert_array_equal(both.pixels[np.array([3]), np.array([1])][0], demonstrations.pixels[3, 1])
    assert both.clip(np.array([10, 30]), np.arange(3)).tolist() == [[10, 11, 11], [30, 31, 31]]
    assert (both.choose_instruction(31, rng), both.choose_instruction(0, rng)) == (UNSAID, "open the drawer")
    np.testing.assert_array_equal(both.demonstrated(CAMERAS), np.arange(12))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def odd(path: Path) -> None:
    with np.load(path) as step:
        np.savez(path, **{**step, "robot_obs": np.zeros(7)})


def garbled(path: Path) -> None:
    """Compressed, and damaged within what is compressed."""
    with np.load(path) as step:
        np.savez_compressed(path, **step)
    coded = bytearray(path.read_bytes())
    coded[300:] = bytes(byte ^ 0x55 for byte in coded[300 : len(coded) // 2]) + coded[len(coded) // 2 :]
    path.write_bytes(coded)


def without(key: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))


def rewritten(text: str, coding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode(coding))


def of_another_column(path: Path) -> None:
    pq.write_table(pa.table({"task_index": [0], "sentence": ["open"]}), path)


def pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize(
    ("kind", "file", "damage"),
    [
        ("own", "episode_000001.npz", emptied),
        ("calvin", "episode_0000106.npz", emptied),
        ("calvin", "episode_0000106.npz", odd),
        ("calvin", "episode_0000106.npz", garbled),
        ("recordings", "ep_start_end_ids.npy", pickled),
        ("recordings", "ep_start_end_ids.npy", rewritten("junk")),
        ("lerobot", "meta/info.json", without("fps")),
        ("lerobot", "meta/info.json", without("features")),
        ("lerobot", "meta/info.json", rewritten('["v3.0"]')),
        ("lerobot", "meta/tasks.parquet", of_another_column),
        ("lerobot", "meta/episodes/chunk-000/file-000.parquet", Path.unlink),
        ("lerobot", "meta/episodes/chunk-000/file-000.parquet", of_another_column),
        ("video", "a.txt", rewritten("gr\u00fc\u00df", "latin-1")),
    ],
)
def test_damage_of_any_kind_is_one_error_that_names_the_file_and_counts_as_a_damaged_clip_of_video(
    tmp_path: Path, kind: str, file: str, damage: Callable[[Path], object], video: bool
) -> None:
    """Empty files, odd widths and tables without a column were tracebacks, and one such clip stopped all of a video."""
    data = tmp_path / "data"
    if kind == "own":
        tiny_episodes(data)
    elif kind == "lerobot":
        write_lerobot(data)
    elif kind == "video":
        write_video(data / "a.mp4", shades(6), 10)
        write_video(data / "b.mp4", shades(6), 10)
        (data / "a.txt").touch()
    else:
        write_calvin(data, annotated=kind == "calvin")
    damage(data / file)

    def opened(tolerated: float) -> Frames:
        return open_frames(data, CAMERAS, 32, step_ns=STEP_NS, video=video or kind == "video", tolerated=tolerated)

    if video and damage is odd:  # which is not read
        assert len(opened(0.0)) == 5
        return
    named = "data: got LeRobot v3 without a clip" if damage is Path.unlink else re.escape(Path(file).name)
    with pytest.raises(DatasetError, match=named):
        opened(0.0)
    if (video and kind == "own") or kind == "video":
        assert len(opened(0.5)) == {"own": 24, "video": 6}[kind]


def test_actions_of_video_are_not_read_and_failures_are_not_what_their_sentences_say(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path, count=3, samples=6)
    files = sorted(data.glob("episode_*.npz"))
    with np.load(files[0]) as stored:
        np.savez(files[0], **{**stored, "target_pose": np.full((6, 7), np.nan)})
    with np.load(files[1]) as stored:
        np.savez(files[1], **{**stored, "success": np.array(False)})
    with pytest.raises(DatasetError, match=r"episode_000000\.npz: episode: got target_pose that is not finite"):
        open_frames(data, CAMERAS, 32)
    frames = open_frames(data, CAMERAS, 32, video=True)
    assert frames.instructions == (("open the drawer",), (), ("open the drawer",))


def test_sentences_of_no_clip_are_told_and_blank_ones_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.mp4", shades(4), 10)
    (tmp_path / "captions.json").write_text(json.dumps({"a.mp4": ["", "wave"], "b.mp4": "push"}))
    assert open_source(tmp_path).read("a.mp4").instructions == ("wave",)
    assert "captions.json: 1 sentences of no clip: b.mp4" in caplog.text


def test_packed_images_are_made_again_when_a_sentence_a_unit_or_a_file_changes(tmp_path: Path) -> None:
    """They stayed those of the first call: sentences that came later were never read, and nobody was told."""
    videos, robots = tmp_path / "v", write_lerobot(tmp_path / "l", layout="joints")
    for name in ("a", "b"):
        write_video(videos / f"{name}.mp4", shades(6), 10)

    def video() -> Frames:
        return open_frames(videos, CAMERAS, 32, step_ns=STEP_NS, video=True)

    def robot() -> Frames:
        return open_frames(robots, ("front", "hand"), 32, step_ns=STEP_NS)

    frames = [video()]
    (videos / "captions.json").write_text(json.dumps({"a.mp4": "wave"}))
    frames.append(video())
    assert frames[-1].instructions == (("wave",), ())
    (videos / "b.txt").write_text("push")
    frames.append(video())
    assert frames[-1].instructions == (("wave",), ("push",))
    write_video(videos / "b.mp4", shades(9), 10)
    frames.append(video())
    assert len(frames[-1]) == 15
    assert len({one.identity for one in frames}) == len(frames)
    assert video().identity == frames[-1].identity
    in_units(robots, '{"joints": "degrees"}')
    degrees = robot().joint_positions
    in_units(robots, '{"joints": "radians"}')
    np.testing.assert_allclose(np.radians(robot().joint_positions), degrees)


def test_damage_is_held_against_what_is_tolerated_each_time(tmp_path: Path) -> None:
    """Once packed with a looser --max-damaged, any other was fine."""
    for n in range(4):
        write_video(tmp_path / f"{n}.mp4", shades(6), 10)
    emptied(tmp_path / "2.mp4")

    def opened(tolerated: float) -> Frames:
        return open_frames(tmp_path, CAMERAS, 32, step_ns=STEP_NS, video=True, tolerated=tolerated)

    assert len(opened(0.3)) == 18
    with pytest.raises(DatasetError, match=r"1 of 4 clips cannot be read: 2\.mp4"):
        opened(0.0)


def test_failed_episodes_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An episode says whether it did what was asked, and nobody asked."""
    data = tiny_episodes(tmp_path, count=3, samples=6)
    files = sorted(data.glob("episode_*.npz"))
    save_episode(replace(load_episode(files[1]), success=False), files[1])
    for _ in range(2):  # packed now, and before
        caplog.clear()
        assert len(open_frames(data, CAMERAS, 32)) == 12
        assert "1 of 3 episodes failed and are left out" in caplog.text
    for path in files:
        save_episode(replace(load_episode(path), success=False), path)
    with pytest.raises(DatasetError, match="got 3 episodes that all failed"):
        open_frames(data, CAMERAS, 32)


def test_what_a_kill_left_of_packing_is_swept_and_what_another_process_writes_is_not(tmp_path: Path) -> None:
    data = tiny_episodes(tmp_path, count=1)
    for name, age_s in (("left", 7200), ("written", 0)):
        folder = data / f".packed_32-{name}"
        folder.mkdir()
        (folder / "pixels.raw").touch()
        for path in (folder / "pixels.raw", folder):
            os.utime(path, (time.time() - age_s, time.time() - age_s))
    open_frames(data, CAMERAS, 32)
    assert [path.name for path in data.glob(".packed*")] == [".packed_32-written"]


@pytest.mark.parametrize("weights", [(0.7, 0.7), (1.0, None), (-0.1, None), (0.3, 0.3), (7.0,)])
def test_weights_that_cannot_be_are_refused(tmp_path: Path, weights: tuple[float | None, ...]) -> None:
    frames = open_frames(tiny_episodes(tmp_path, count=1, samples=3), CAMERAS, 32)
    with pytest.raises(DatasetError, match=r"got weights .* expected each in 0\.\.1"):
        mixed([(frames, weight) for weight in weights])


def test_only_video_has_no_demonstrations(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", shades(6), 10)
    frames = open_frames(tmp_path, CAMERAS, 32, step_ns=STEP_NS, video=True)
    with pytest.raises(DatasetError, match="clips without actions, expected demonstrations"):
        frames.demonstrated(CAMERAS)


def test_episodes_sampled_too_rarely_are_refused_with_both_steps(tmp_path: Path) -> None:
    folder = tiny_episodes(tmp_path, count=1)
    with pytest.raises(DatasetError, match="got samples every 100000000 ns, expected one every 50000000 ns"):
        open_frames(folder, CAMERAS, 32, step_ns=STEP_NS // 2)
