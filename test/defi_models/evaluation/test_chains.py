import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from tiny import tiny_checkpoint, tiny_config

from defi_models.cli import main
from defi_models.config import DefiConfig
from defi_models.contract import ActionChunk, ConfigError, Imagination, Promised, Proprioception
from defi_models.evaluation import chains
from defi_models.evaluation.chains import Benchmark, run_chain
from defi_models.evaluation.rollout import Rollout, Timing
from defi_models.evaluation.score import ChainRun
from defi_models.inference.scripted_policy import ScriptedPolicy
from defi_sim.chains import draw_chain
from defi_sim.world import World


class Frozen(ScriptedPolicy):
    """Stays where it is."""

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        chunk = super().act(imagination, proprioception)
        here = chunk.targets.copy()
        here[:] = proprioception.ee_pose
        return ActionChunk(chunk.start_ns, chunk.step_ns, chunk.space, here, 0 * chunk.gripper, chunk.arm)


def test_experts_do_whole_chains_in_unseen_scenes():
    with World() as world:
        runs = [run_chain(world, ScriptedPolicy(), draw_chain(3, i), i, Benchmark("scripted")) for i in range(2)]
    assert [run.length for run in runs] == [5, 5]
    assert all(0 < steps <= 360 for run in runs for steps in run.steps)


def test_a_chain_ends_at_its_first_failure_and_leaves_a_video_of_it(tmp_path: Path):
    benchmark = Benchmark("frozen", steps=4, video=tmp_path)
    chain = draw_chain(3, 0)
    with World() as world:
        run = run_chain(world, Frozen(), chain, 0, benchmark)
    assert run.length == 0
    (path,) = tmp_path.iterdir()
    assert path.name == f"chain_0000_1_{chain.tasks[0]}.mp4"
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    seen, frame = video.read()
    assert seen
    assert frame[2].mean() < 60  # a black bar
    assert frame[:20].max() > 150  # with white words


class Listening(ScriptedPolicy):
    """Remembers what it was promised."""

    def __init__(self) -> None:
        super().__init__()
        self.promised: list[Promised | None] = []

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        self.promised.append(promised)
        return super().act(imagination, proprioception)


@pytest.mark.parametrize(("blending", "hears"), [("newest", False), ("rtc", True)])
def test_a_policy_hears_what_the_arm_will_do_until_its_chunk_is_there(blending: str, hears: bool):
    with World(cameras=()) as world:
        world.reset(0, task="turn_on_led")
        policy = Listening()
        Rollout(world, policy, Timing(latency_s=0.15, replan_s=0.2, blending=blending)).run(
            "turn on the led", lambda: False, 10, 10**8
        )
    assert policy.promised[0] is None
    heard = [promised for promised in policy.promised if promised is not None]
    assert bool(heard) == hears
    # The next comes after 0.15 s, on the way to the target at 0.2 s.
    assert all((promised.weights == 1.0).sum() == 3 for promised in heard)


def test_success_is_asked_for_after_every_step_of_the_policy():
    with World() as world:
        world.reset(0)
        asked = []
        rollout = Rollout(world, ScriptedPolicy(), Timing())
        took = rollout.run("open the drawer", lambda: bool(asked.append(world.time_ns) or len(asked) == 3), 5, 10**8)
        assert took == 3
        assert asked == [10**8, 2 * 10**8, 3 * 10**8]
        with pytest.raises(ConfigError, match="step: got 15000000 ns, expected a multiple of the control period"):
            rollout.run("open the drawer", lambda: True, 1, 15_000_000)


def test_chains_done_before_an_interruption_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Two hours of chains were lost to a Ctrl-C."""

    def interrupted(benchmark: Benchmark, chains: int, jobs: int, progress: Callable[[ChainRun], None]) -> None:
        for index in (2, 0):
            progress(ChainRun(index, draw_chain(0, index).tasks, (10,) * index, 1.0, "" if index else "not done"))
        raise KeyboardInterrupt

    monkeypatch.setattr(chains, "run_chains", interrupted)
    out = tmp_path / "chains.json"
    assert main(["eval", "chains", "--policy", "scripted", "--json", str(out)]) == 130
    score = json.loads(out.read_text())
    assert (score["chains"], [run["index"] for run in score["runs"]]) == (2, [0, 2])
    assert "average length 1.000 of 5" in capsys.readouterr().out


def test_a_folder_for_videos_that_is_a_file_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture):
    taken = tmp_path / "taken"
    taken.write_text("")
    assert main(["eval", "chains", "--policy", "scripted", "--chains", "1", "--video", str(taken)]) == 2
    assert "--video: got" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_the_score(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "chains.json"
    command = ["eval", "chains", "--policy", "scripted", "--chains", "2", "--seed", "5", "--jobs", "2"]
    assert main([*command, "--json", str(out)]) == 0
    score = json.loads(out.read_text())
    assert (score["chains"], score["seed"], score["split"]) == (2, 5, "test")
    assert set(score["success"]) == {"1", "2", "3", "4", "5"}
    assert f"average length {score['average_length']:.3f} of 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backend", "config", "message"),
    [
        ("onnx", tiny_config(), "has no onnx/export.json"),
        ("torch", replace(tiny_config(), cameras=("front",)), r"looks through ['front'], but the simulated table has"),
        ("torch", replace(tiny_config(), step_ns=33_333_333), "step: got 33333333 ns, expected a multiple"),
    ],
)
def test_a_policy_that_cannot_be_judged_ends_the_command_with_its_reason(
    backend: str, config: DefiConfig, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """A pool whose initializer failed began it again, for ever."""
    folder = tiny_checkpoint(tmp_path / "policy", config=config).folder
    assert main(["eval", "chains", "--policy", str(folder), "--backend", backend, "--chains", "1", "--jobs", "1"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--chains", "0"), "--chains: got 0, expected at least 1"),
        (("--jobs", "0"), "--jobs: got 0, expected at least 1"),
        (("--replan-s", "0"), "--replan-s: got 0.0, expected a time of more than 0"),
        (("--policy", "nanno"), "no policy 'nanno'"),
    ],
)
def test_bad_options_are_refused(option: tuple[str, str], message: str, capsys: pytest.CaptureFixture):
    assert main(["eval", "chains", "--policy", "scripted", *option]) == 2
    assert message in capsys.readouterr().err
