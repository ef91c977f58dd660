import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from footage import shades, write_video
from tiny import tiny_episodes

from defi_models.cli import main
from defi_models.contract import ConfigError
from defi_models.datasets.sources import open_source
from defi_models.experiment.arms import ARMS, BUDGETS, compared, smallest
from defi_models.experiment.baseline import trained_parameters
from defi_models.experiment.entangled import Entangled, entangled_like
from defi_models.experiment.footage import film
from defi_models.experiment.outcome import difference_interval, order, read_outcomes, verdicts
from defi_models.experiment.trial import check_budget, check_data
from defi_models.models.transformer import SpatioTemporalTransformer
from defi_models.training.policy_stage import held_out_episodes
from defi_sim.world import World

WORDS = ("drawer", "open", "the")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All five arms, run by the command on data that were there already."""
    out = tmp_path_factory.mktemp("claim")
    tiny_episodes(out / "data" / "target", count=3)
    for body in ("other_arm", "hand"):
        clip = out / "data" / "video" / body / "clip_000000.mp4"
        write_video(clip, shades(14), 10)
        clip.with_suffix(".txt").write_text("open the drawer\n")
        (out / "data" / f"{body}.json").write_text("{}")
    (out / "data" / "target.json").write_text("{}")
    assert main(["claim", "--out", str(out), "--budget", "smoke", "--seeds", "1"]) == 0
    return out


def results(out: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("seed_0/*/result.json")}


def test_every_arm_makes_the_same_number_of_steps_and_is_judged(finished: Path) -> None:
    found = results(finished)
    assert set(found) == set(ARMS)
    for result in found.values():
        assert sum(result["steps"].values()) == BUDGETS["smoke"].steps
        assert len(result["attempts"]) == BUDGETS["smoke"].attempts
        assert result["data"] == {"target": 3, "hand": 1, "other_arm": 1}
        assert np.isfinite(list(result["held_out"].values())).all()


def test_arms_share_what_is_pretrained_and_nothing_else(finished: Path) -> None:
    def weights(arm: str, stage: str) -> bytes:
        return (finished / "seed_0" / arm / f"{stage}.safetensors").read_bytes()

    assert weights("both", "gfdm") == weights("gfdm_only", "gfdm") != weights("neither", "gfdm")
    assert weights("both", "gidm") == weights("gidm_only", "gidm") != weights("neither", "gidm")
    assert weights("neither", "gfdm") == weights("gidm_only", "gfdm")
    trained = {arm: (finished / "seed_0" / arm / "policy.forward.safetensors").is_file() for arm in ARMS}
    assert trained == {"both": False, "gfdm_only": False, "gidm_only": True, "neither": True, "entangled": False}


def test_finished_arms_are_kept_and_an_interrupted_one_goes_on(finished: Path) -> None:
    kept = finished / "seed_0" / "both" / "result.json"
    left = finished / "seed_0" / "neither"
    before, written = results(finished)["neither"], kept.stat().st_mtime_ns
    (left / "result.json").unlink()  # as if it had been killed between its training and its judgement
    trained = (left / "policy.safetensors").stat().st_mtime_ns
    marked = [{**before["attempts"][0], "duration_s": 123.0}]
    (left / "attempts.json").write_text(json.dumps(marked))
    assert main(["claim", "--out", str(finished), "--budget", "smoke"]) == 0
    assert kept.stat().st_mtime_ns == written
    assert (left / "policy.safetensors").stat().st_mtime_ns == trained
    assert results(finished)["neither"] == {**before, "attempts": marked}
    (left / "result.json").write_text(json.dumps(before))


def test_report_says_what_is_saved(finished: Path, tmp_path: Path) -> None:
    chains = tmp_path / "chains.json"
    score = {"policy": "nano", "average_length": 3.21, "interval_95": [2.9, 3.5], "success": {"1": 0.9, "2": 0.8}}
    chains.write_text(json.dumps(score | {"chains": 17, "seed": 4}))
    out = tmp_path / "out"
    for arm, won in (("both", 60), ("neither", 20), ("gfdm_only", 58)):
        saved = results(finished)[arm]
        one = saved["attempts"][0]
        attempts = [{**one, "seed": number, "success": number < won} for number in range(64)]
        (out / "seed_0" / arm).mkdir(parents=True)
        (out / "seed_0" / arm / "result.json").write_text(json.dumps({**saved, "attempts": attempts}))
    page = tmp_path / "results.md"
    given = ["claim", "--out", str(out), "--report", "--page", str(page), "--chains", str(chains)]
    assert main(given) == 0
    text = page.read_text()
    assert "| both pretrained | 0 | 64 | 93.8% (60) |" in text
    assert (
        "against neither pretrained: +62.5 points" in text
        and "for pretraining both, by more than the chance of" in text
        and "The paper has no figure of this arm." in text
    )
    assert "against GFDM pretrained: +3.1 points" in text and "not told from the chance" in text
    assert "No result yet: GIDM pretrained; entangled" in text
    assert "average length **3.21** [2.90, 3.50]" in text and "17 chains" in text
    assert "No figures were given: `defi export" in text
    assert str(tmp_path) not in text


def test_report_without_results_of_the_arms_says_so_and_shows_the_rest(tmp_path: Path) -> None:
    inspected, exported, page = tmp_path / "base.json", tmp_path / "export.json", tmp_path / "page.md"
    part = {"name": "GIDM", "parameters": 116_000_000, "gigaflop": 130.3, "once": "chunk", "node": "action_node"}
    other = {**part, "name": "a part of ours"}
    inspected.write_text(json.dumps({"parts": [part, other]}))
    times = {"gfdm_ms": {"torch": 40.0, "onnx": 30.0}, "gidm_ms": {"torch": 30.0, "onnx": 20.5}}
    times["chunk_ms"] = {"torch": 70.0, "onnx": 50.0}
    exported.write_text(json.dumps({"action_difference": 2e-5, **times}))
    given = ["claim", "--out", str(tmp_path), "--report", "--page", str(page), "--inspect", str(inspected)]
    assert main([*given, "--export", str(exported)]) == 0
    text = page.read_text()
    assert "No result yet: `defi claim --budget cpu`" in text
    assert (
        "| GIDM | 116,000,000 | +1.1% | 130.30 | +0.0% |" in text
        and "| a part of ours | 116,000,000 |  | 130.30 |  |" in text
    )
    assert "Further from the paper's than 1% of parameters and 5% of GFLOP: GIDM: " in text
    assert "2.0e-05, within 0.001" in text and "50.0 ms with onnxruntime, within 60 ms and no slower than torch" in text


def test_report_shows_meta_world_and_what_a_chunk_of_the_papers_model_takes(tmp_path: Path) -> None:
    metaworld, latency, page = tmp_path / "metaworld.json", tmp_path / "latency.json", tmp_path / "page.md"
    scores = [{"task": "reach-v3", "successes": [True, True, False, True], "seed": 7}]
    said = {"policy": "/somewhere/mt10", "seed": 7, "episodes": 4, "success": 0.75, "interval_95": [0.301, 0.954]}
    metaworld.write_text(json.dumps({**said, "per_task": scores}))
    about = {"policy": "base", "device": "cpu", "threads": 2, "chunks": 1, "peak": {"host_gib": 11.25}}
    latency.write_text(
        json.dumps(
            {
                **about,
                "median_ms": {"forward half": 3.0, "GFDM": 123456.0, "GIDM": 1.0, "decoder": 2.0, "chunk": 130000.5},
            }
        )
    )
    given = ["claim", "--out", str(tmp_path), "--report", "--page", str(page), "--metaworld", str(metaworld)]
    assert main([*given, "--latency", str(latency)]) == 0
    text = page.read_text()
    assert "`mt10`, 4 attempts" in text and "**75.0%** [30.1%, 95.4%]" in text
    assert "| reach-v3 | 3 of 4 | [30%, 95%] |" in text
    assert "11.2 GiB of host memory, within 24 GiB" in text and "| GFDM | 123,456.0 | 86.1 |" in text
    assert "| forward half | 3.0 |  |" in text, "what `--compiled` times"


def test_report_refuses_a_file_of_another_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"policy": "nano"}))
    given = ["claim", "--out", str(tmp_path), "--report", "--page", str(tmp_path / "page.md")]
    assert main([*given, "--metaworld", str(wrong)]) == 2
    assert "expected what `defi eval metaworld" in capsys.readouterr().err and not (tmp_path / "page.md").exists()
    for option, wrong_kind in (
        ("--metaworld", {"policy": "nano", "seed": 0, "per_task": []}),
        ("--chains", {"policy": "nano", "seed": 0, "interval_95": [0, 1], "success": 0.5}),
        ("--export", []),
    ):
        wrong.write_text(json.dumps(wrong_kind))
        assert main([*given, option, str(wrong)]) == 2
        assert f"{option} {wrong}: got" in capsys.readouterr().err


def test_report_says_of_an_unfinished_evaluation_that_it_is(tmp_path: Path) -> None:
    chains = {"policy": "nano", "seed": 0, "asked": 200, "chains": 5, "average_length": 3.0, "interval_95": [1, 5]}
    (tmp_path / "chains.json").write_text(json.dumps(chains | {"success": {"1": 1.0}}))
    page = tmp_path / "page.md"
    given = ["claim", "--out", str(tmp_path), "--report", "--page", str(page)]
    assert main([*given, "--chains", str(tmp_path / "chains.json")]) == 0
    assert "UNFINISHED, 5 of 200 chains" in page.read_text()


def test_report_says_when_the_paper_is_contradicted(finished: Path, tmp_path: Path) -> None:
    for arm, won in (("both", 10), ("neither", 50)):
        saved = results(finished)[arm]
        attempts = [{**saved["attempts"][0], "seed": number, "success": number < won} for number in range(64)]
        (tmp_path / "seed_0" / arm).mkdir(parents=True)
        (tmp_path / "seed_0" / arm / "result.json").write_text(json.dumps({**saved, "attempts": attempts}))
    assert main(["claim", "--out", str(tmp_path), "--report", "--page", str(tmp_path / "page.md")]) == 0
    assert "against pretraining both, by more than the chance" in (tmp_path / "page.md").read_text()


def test_a_folder_holds_one_budget(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = (finished / "budget.json").read_text()
    (finished / "budget.json").write_text(json.dumps({**json.loads(kept), "clips": 99, "attempts": 7}))
    try:
        with pytest.raises(ConfigError, match="of budget 'smoke' with another attempts, clips"):
            check_budget(finished, BUDGETS["smoke"])
    finally:
        (finished / "budget.json").write_text(kept)
    with pytest.raises(ConfigError, match="holds results of budget 'smoke'"):
        check_budget(finished, BUDGETS["cpu"])
    assert main(["claim", "--out", str(finished / "none"), "--report"]) == 2
    assert main(["claim", "--out", str(finished / "none"), "--budget", "nan"]) == 2
    assert "did you mean 'nano'?" in capsys.readouterr().err


def scenes(both: int, one: int, other: int, neither: int) -> list[tuple[bool, bool]]:
    """Pairs of attempts, by who succeeded."""
    return [(True, True)] * both + [(True, False)] * one + [(False, True)] * other + [(False, False)] * neither


def test_difference_of_rates_on_the_same_scenes_is_that_of_newcombe() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10: 36 pairs of both, 12 and 2 of one, 0 of neither.
    np.testing.assert_allclose(difference_interval(scenes(36, 12, 2, 0)), (0.0569, 0.3404), atol=5e-5)


def test_arms_that_succeed_in_the_same_scenes_are_told_apart_more_surely() -> None:
    low, high = difference_interval(scenes(28, 10, 0, 26))
    apart_low, apart_high = difference_interval(scenes(17, 21, 11, 15))  # the same rates, nothing in common
    assert low > 0 > apart_low and high < apart_high
    assert difference_interval(scenes(9, 0, 0, 0))[0] < 0 < difference_interval(scenes(9, 0, 0, 0))[1]


def test_intervals_that_hold_together_are_wider() -> None:
    """Four differences at 95 % each were told from chance that together are not."""
    low, high = difference_interval(scenes(25, 3, 11, 25))
    assert high < 0, "one alone"
    together = difference_interval(scenes(25, 3, 11, 25), 4)
    assert together[0] < low and together[1] > 0
    np.testing.assert_allclose(together, (-0.259, 0.020), atol=5e-4)


def with_result(out: Path, saved: dict, place: str, **changes: Any) -> Path:
    path = out / place / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**saved, **changes}))
    return path


def test_a_page_is_of_one_experiment(finished: Path, tmp_path: Path) -> None:
    """Results of two budgets, of other data or of more steps once stood in one table as if they could be compared."""
    saved = results(finished)
    with_result(tmp_path, saved["both"], "seed_0/both")
    for number, changes in enumerate(({"budget": "cpu"}, {"data": {"target": 1}}, {"steps": {"policy": 99}})):
        other = with_result(tmp_path, saved["neither"], f"seed_{number}/neither", **changes)
        with pytest.raises(ConfigError, match=f"got results with another {next(iter(changes))} in .*seed_{number}"):
            read_outcomes(tmp_path)
        other.unlink()
    asked = [{**one, "instruction": "do it"} for one in saved["neither"]["attempts"]]
    with_result(tmp_path, saved["neither"], "seed_0/neither_again", attempts=asked)
    with pytest.raises(ConfigError, match=r"another scenes or sentences in .*neither_again"):
        read_outcomes(tmp_path)
    with pytest.raises(ConfigError, match=r"holds results on .*'target': 3.*, got .*'target': 7"):
        check_data(finished, {**saved["both"]["data"], "target": 7})


def test_arms_are_compared_by_the_scenes_that_both_tried(finished: Path, tmp_path: Path) -> None:
    saved = results(finished)
    one = saved["both"]["attempts"][0]
    for seed in (0, 1):
        won = [{**one, "seed": number, "success": seed == 0} for number in range(30)]
        with_result(tmp_path, saved["both"], f"seed_{seed}/both", seed=seed, attempts=won)
    lost = [{**one, "seed": number, "success": False} for number in range(30)]
    with_result(tmp_path, saved["neither"], "seed_0/neither", attempts=lost)
    with_result(tmp_path, saved["gfdm_only"], "seed_7/gfdm_only", seed=7, attempts=lost)
    said = verdicts(read_outcomes(tmp_path))
    assert "against neither pretrained (seeds 0): +100.0 points" in said[0], "its seed 1 failed everywhere"
    assert "against GFDM pretrained: not compared" in said[1]


def test_seeds_may_hold_out_other_demonstrations(finished: Path, tmp_path: Path) -> None:
    """A seed could not be added once the rule of what is held out had changed."""
    saved = results(finished)["both"]
    with_result(tmp_path, saved, "seed_0/both")
    with_result(tmp_path, saved, "seed_1/both", seed=1, held_out_tasks={"close_drawer": 4})
    assert read_outcomes(tmp_path)["both"].seeds == [0, 1]
    assert main(["claim", "--out", str(tmp_path), "--report", "--page", str(tmp_path / "page.md")]) == 0
    assert "seed 1: 4 of close_drawer" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(
    "damage", ["{", "[]", "{}", '{"arm": "both"}', {"arm": []}, {"steps": 5}, {"held_out": {}}, {"attempts": []}]
)
def test_a_damaged_result_is_named(
    finished: Path, capsys: pytest.CaptureFixture[str], damage: str | dict[str, Any]
) -> None:
    path = finished / "seed_0" / "both" / "result.json"
    kept = path.read_text()
    path.write_text(damage if isinstance(damage, str) else json.dumps(json.loads(kept) | damage))
    try:
        assert main(["claim", "--out", str(finished), "--budget", "smoke"]) == 2
        assert main(["claim", "--out", str(finished), "--report", "--page", str(finished / "page.md")]) == 2
    finally:
        path.write_text(kept)
    said = capsys.readouterr().err
    assert said.count(str(path)) == 2 and said.count("expected a result of `defi claim`; delete it") == 2
    assert not (finished / "page.md").exists()


def test_a_folder_that_is_a_file_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    assert main(["claim", "--out", str(taken), "--budget", "smoke"]) == 2
    assert main(["claim", "--out", str(tmp_path / "new"), "--data", str(taken), "--budget", "smoke"]) == 2
    assert main(["claim", "--out", str(tmp_path), "--report", "--page", str(taken / "page.md")]) == 2
    said = capsys.readouterr().err
    assert said.count("--out: got") == said.count("--data: got") == said.count("--page: got") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", [120, 160])
def test_held_out_demonstrations_are_of_all_tasks(count: int) -> None:
    """Every twentieth of tasks in turn of eight was of two tasks alone; of the sorted ones, of six of 120."""
    frames = SimpleNamespace(
        episode=np.arange(count).repeat(2),
        target_gripper=np.zeros(2 * count),
        tasks=[f"task {n % 8}" for n in range(count)],
    )
    held = held_out_episodes(frames)  # type: ignore[arg-type]
    assert len(held) == 8 and {frames.tasks[episode] for episode in held} == set(frames.tasks)


def test_few_demonstrations_of_a_task_are_all_for_training() -> None:
    frames = SimpleNamespace(episode=np.arange(9), target_gripper=np.zeros(9), tasks=["a"] * 5 + ["b"] * 4)
    assert held_out_episodes(frames).tolist() == [0]  # type: ignore[arg-type]


def test_video_of_a_hand_is_written_with_its_sentences(tmp_path: Path) -> None:
    clip = tmp_path / "clip_000000.mp4"
    with World(cameras=("static",), image_size=(64, 64), embodiment="hand") as world:
        assert film(world, "open_drawer", 3, clip)
    source = open_source(tmp_path)
    found = source.read("clip_000000.mp4", 100_000_000)
    assert source.names() == ["clip_000000.mp4"] and "open the drawer" in found.instructions
    assert 10 < len(found) < 150 and found.images["video"].shape[1:] == (64, 64, 3)
    assert found.images["video"].std(0).mean() > 1, "something moves"


@pytest.mark.parametrize("model", [compared, smallest])
def test_the_baseline_has_about_as_many_parameters_as_both_halves(model) -> None:
    config = model(WORDS)
    wanted = trained_parameters(config)
    got = sum(p.numel() for p in entangled_like(config, wanted).parameters())
    assert abs(got / wanted - 1) < 0.1


def test_clips_without_actions_move_the_baseline_by_their_frames_alone() -> None:
    config = smallest(WORDS)
    network, generator = Entangled(config, 1), torch.Generator().manual_seed(0)
    clips = torch.randn(2, 2, 3, 4, 4, 4, generator=generator)
    seen = torch.tensor([[True, True], [True, False]])
    labelled, words = torch.tensor([True, False]), torch.full((2, config.text.max_words), 2)
    actions = torch.randn(2, config.chunk_steps, 7, generator=generator)
    given = seen, words, torch.zeros(2, 10)
    loss = network.loss(clips, *given, actions, labelled)[0]
    other = actions.clone()
    other[1] += 5
    torch.testing.assert_close(network.loss(clips, *given, other, labelled)[0], loss)
    unseen = clips.clone()
    unseen[1, 1] += 5
    torch.testing.assert_close(network.loss(unseen, *given, actions, labelled)[0], loss)
    moved = clips.clone()
    moved[1, 0, 1:] += 5
    assert network.loss(moved, *given, actions, labelled)[0] > loss + 1


def test_the_baseline_cuts_latents_into_the_patches_of_the_gfdm() -> None:
    config = smallest(WORDS)
    backbone = SpatioTemporalTransformer(config.gfdm, (4, 4, 4), config.text.width)  # type: ignore[arg-type]
    latents = torch.randn(2, 3, 4, 4, 4)
    torch.testing.assert_close(Entangled(config, 1).patches(latents), backbone.patches(latents))


def test_no_budget_gives_an_arm_more_steps_than_another() -> None:
    for budget in BUDGETS.values():
        for arm in ARMS.values():
            preset = budget.preset(replace(arm))
            pretrained = [stage for stage in ("gfdm", "gidm") if getattr(arm, stage)]
            assert sum(preset.schedules[stage].steps for stage in (*pretrained, "policy")) == budget.steps


def test_an_order_needs_two_arms_of_the_paper() -> None:
    def with_rates(**rates: float) -> Any:
        return {name: SimpleNamespace(success=rate) for name, rate in rates.items()}

    assert order(with_rates(both=0.4, neither=0.6)).endswith("too few of these for an order to compare.")
    assert order(with_rates(both=0.4, gfdm_only=0.3)).endswith("here it is the same.")
    assert order(with_rates(both=0.4, gfdm_only=0.5)).endswith("here it is another.")
    assert "neither (60%) = gidm_only (60%) > both (40%)" in order(with_rates(both=0.4, neither=0.6, gidm_only=0.6))
