"""The clauses every policy keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from tiny import DOWN, tiny_checkpoint

from defi_models import export as export_module
from defi_models.checkpoint import read_checkpoint
from defi_models.cli import main
from defi_models.contract import (
    CheckpointError,
    ConfigError,
    ContractError,
    Observation,
    Policy,
    Promised,
    Proprioception,
)
from defi_models.export import Network, export, parity
from defi_models.inference.graphs import FORMAT
from defi_models.inference.load import load_policy
from defi_sim.world import World

FREE = "act() must not need more than the imagination and the arm's state"


class PolicyContract:
    """Inherit and give `policy`; `observation` may be overridden."""

    def observation(self, policy: Policy, time_ns: int = 1_000) -> Observation:
        rng = np.random.default_rng(0)
        images = {name: rng.integers(0, 256, (48, 48, 3), dtype=np.uint8) for name in policy.spec.cameras}
        return Observation(time_ns, images, "open the drawer")

    def state(self, x_m: float = 0.4) -> Proprioception:
        return Proprioception(1_000, np.zeros(7), np.array([x_m, *DOWN[1:]]), 0.0)

    def test_is_a_policy(self, policy: Policy) -> None:
        assert isinstance(policy, Policy)

    def test_features_have_the_shape_the_spec_says(self, policy: Policy) -> None:
        imagination = policy.imagine(self.observation(policy))
        assert imagination.features.shape == policy.spec.feature_shape
        assert imagination.features.dtype == np.float32

    def test_chunk_is_dated_by_its_observation(self, policy: Policy) -> None:
        chunk = policy.act(policy.imagine(self.observation(policy, 123_456)), self.state())
        assert chunk.start_ns == 123_456, FREE
        assert (len(chunk.targets), chunk.step_ns) == (policy.spec.chunk_steps, policy.spec.step_ns)
        assert (chunk.space, chunk.arm) == (policy.spec.space, policy.spec.arm)

    def test_gripper_stays_between_closed_and_open(self, policy: Policy) -> None:
        chunk = policy.act(policy.imagine(self.observation(policy)), self.state())
        assert chunk.gripper.min() >= 0
        assert chunk.gripper.max() <= 1

    def test_imagination_of_another_policy_is_refused(self, policy: Policy) -> None:
        imagination = replace(policy.imagine(self.observation(policy)), policy="someone else's")
        with pytest.raises(ContractError, match="someone else's"):
            policy.act(imagination, self.state())

    def test_watching_gives_images_of_its_cameras(self, policy: Policy) -> None:
        for camera, frames in policy.watch(policy.imagine(self.observation(policy))).items():
            assert camera in policy.spec.cameras
            assert frames.dtype == np.uint8
            assert frames.ndim == 4


class DefiPolicyContract(PolicyContract):
    """What every engine keeps that runs the networks of a checkpoint; inherit and give `backend`."""

    backend: str

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "policy").folder

    @pytest.fixture(scope="class")
    def policy(self, folder: Path) -> Policy:
        return load_policy(str(folder), backend=self.backend, threads=1)

    def test_same_observation_gives_the_same_chunk(self, policy: Policy) -> None:
        chunks = [policy.act(policy.imagine(self.observation(policy)), self.state()) for _ in range(2)]
        np.testing.assert_array_equal(chunks[0].targets, chunks[1].targets)

    def test_targets_move_with_the_arm(self, policy: Policy) -> None:
        imagination = policy.imagine(self.observation(policy))
        here, there = (policy.act(imagination, self.state(x)).targets for x in (0.4, 0.4 + 1e-6))
        np.testing.assert_allclose(there[:, 0] - here[:, 0], 1e-6, atol=1e-5)

    def test_the_two_halves_apart_do_what_the_whole_does(self, policy: Policy, folder: Path) -> None:
        imagine = load_policy(str(folder), backend=self.backend, half="imagine")
        act = load_policy(str(folder), backend=self.backend, half="act")
        apart = act.act(imagine.imagine(self.observation(policy)), self.state())
        whole = policy.act(policy.imagine(self.observation(policy)), self.state())
        np.testing.assert_array_equal(apart.targets, whole.targets)
        with pytest.raises(ContractError, match="only the other half"):
            act.imagine(self.observation(policy))

    def test_missing_camera_is_named(self, policy: Policy) -> None:
        images = {"static": np.zeros((8, 8, 3), np.uint8)}
        with pytest.raises(ContractError, match=r"no image of \['wrist'\]; got \['static'\]"):
            policy.imagine(Observation(0, images, "open the drawer"))

    def test_features_of_another_shape_or_kind_are_refused_with_both(self, policy: Policy) -> None:
        """Features of one camera in place of two ended the thread that infers, with an error of torch's."""
        whole = policy.imagine(self.observation(policy))
        for features in (whole.features[:1], whole.features.astype(np.float64)):
            with pytest.raises(ContractError, match=r"imagination: got features of shape \(.*expected \(2, 3, "):
                policy.act(replace(whole, features=features), self.state())

    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_features_that_are_not_finite_are_told_as_the_cause(self, policy: Policy, number: float) -> None:
        whole = policy.imagine(self.observation(policy))
        spoiled = whole.features.copy()
        spoiled[1, 2, -1, -1] = number
        with pytest.raises(ContractError, match=r"actions: got numbers that are not finite .* because the features"):
            policy.act(replace(whole, features=spoiled), self.state())

    def test_an_empty_image_is_refused(self, policy: Policy) -> None:
        images = dict.fromkeys(policy.spec.cameras, np.zeros((0, 0, 3), np.uint8))
        with pytest.raises(ContractError, match=r"image: got uint8 of shape \(0, 0, 3\), expected .* not empty"):
            policy.imagine(Observation(0, images, "open the drawer"))

    def test_long_instruction_is_refused_with_both_numbers(self, policy: Policy) -> None:
        observation = self.observation(policy)
        with pytest.raises(ContractError, match=r"got 9 words in .*, expected at most 6"):
            policy.imagine(Observation(0, observation.images, "open the drawer and then close it at once"))

    def test_what_was_promised_stays_and_the_rest_continues_it(self, policy: Policy) -> None:
        imagination = policy.imagine(self.observation(policy))
        free = policy.act(imagination, self.state())
        targets = free.targets[:3].copy()
        targets[:, 0] += 0.05
        promised = replace(free, targets=targets, gripper=np.full(3, 0.25))
        kept = policy.act(imagination, self.state(), Promised(promised, np.array([1.0, 1.0, 0.5])))
        np.testing.assert_allclose(kept.targets[:2], targets[:2], atol=1e-5)
        np.testing.assert_allclose(kept.gripper[:2], 0.25, atol=1e-5)
        assert min(free.targets[2, 0], targets[2, 0]) < kept.targets[2, 0] < max(free.targets[2, 0], targets[2, 0])
        assert np.abs(kept.targets[3:] - free.targets[3:]).max() > 1e-6

    def test_a_promise_at_other_times_is_refused_with_both(self, policy: Policy) -> None:
        imagination = policy.imagine(self.observation(policy, 1_000))
        earlier = replace(policy.act(imagination, self.state()), start_ns=0)
        with pytest.raises(ContractError, match=r"from 0 ns every .* expected at most .* from 1000 ns"):
            policy.act(imagination, self.state(), Promised(earlier, np.ones(len(earlier.targets))))


class TestTorchPolicy(DefiPolicyContract):
    backend = "torch"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
class TestCompiledPolicy(DefiPolicyContract):
    backend = "compiled"

    def test_compiled_equals_eager(self, policy: Policy, folder: Path) -> None:
        assert_same(policy, load_policy(str(folder)), self.observation(policy), self.state())


class TestOnnxPolicy(DefiPolicyContract):
    backend = "onnx"

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "policy")
        export(checkpoint)
        return checkpoint.folder

    def test_onnxruntime_equals_torch(self, policy: Policy, folder: Path) -> None:
        assert_same(policy, load_policy(str(folder)), self.observation(policy), self.state())

    def test_the_report_lies_beside_the_graphs(self, folder: Path) -> None:
        report = json.loads((folder / "onnx" / "export.json").read_text())
        assert report["action_difference"] <= 1e-3
        assert set(report["gidm_ms"]) == {"torch", "onnx"}

    def test_each_network_is_reported_and_no_thread_of_torch_is_lost(self, folder: Path) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            report = parity(read_checkpoint(folder), folder / "onnx")
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
        assert 0 <= report["action_difference"] <= 1e-3
        networks = json.loads((folder / "onnx" / "export.json").read_text())["networks"]
        assert len(networks) == 6 and all(0 <= row["relative"] <= 1e-4 for row in networks.values())

    def test_a_process_that_runs_graphs_never_loads_torch(self, folder: Path) -> None:
        code = (
            "import sys; from defi_models.inference.load import load_policy; "
            f"load_policy({str(folder)!r}, backend='onnx'); sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_device_that_is_not_there_is_refused_with_those_that_are(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match=r"got 'abacus', expected one of \['cpu'"):
            load_policy(str(folder), backend="onnx", device="abacus")

    @pytest.mark.parametrize("damage", ["truncated", "swapped", "noise", "list", "hashes", "missing"])
    def test_damaged_graphs_are_refused_and_exported_anew(self, folder: Path, damage: str, tmp_path: Path) -> None:
        """A truncated graph was "there already" for --if-needed, and a traceback of onnxruntime on the robot."""
        mine = shutil.copytree(folder, tmp_path / "policy")
        onnx = mine / "onnx"
        if damage == "truncated":
            (onnx / "gfdm.onnx").write_bytes((onnx / "gfdm.onnx").read_bytes()[:-100])
        elif damage == "swapped":
            (onnx / "gidm.onnx").rename(onnx / "other")
            (onnx / "decoder.onnx").rename(onnx / "gidm.onnx")
            (onnx / "other").rename(onnx / "decoder.onnx")
        elif damage == "noise":
            (onnx / "noise.npy").write_bytes(b"\x93NUMPY")
        elif damage == "missing":
            (onnx / "gidm_text.onnx").unlink()
        elif damage == "list":
            (onnx / "export.json").write_text("[]")
        else:
            manifest = json.loads((onnx / "export.json").read_text())
            (onnx / "export.json").write_text(json.dumps({**manifest, "hashes": []}))
        with pytest.raises(CheckpointError, match=r"cannot run in onnxruntime: .* Run `defi export "):
            load_policy(str(mine), backend="onnx")
        if damage == "truncated":
            assert main(["export", str(mine), "--if-needed"]) == 0
            load_policy(str(mine), backend="onnx")

    @pytest.mark.parametrize(("device", "started"), [("cuda:1", ["CPU"]), ("tensorrt", ["CUDA", "CPU"])])
    def test_a_gpu_that_onnxruntime_cannot_start_is_no_cpu(
        self, folder: Path, device: str, started: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It warns, in a log that is silenced, and runs on the CPU, ten times as slowly."""
        made, started = StartsOnly(f"{name}ExecutionProvider" for name in started), []
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL_PROVIDERS)
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, providers: started.append(providers) or made)
        with pytest.raises(CheckpointError, match=f"got '{device}', but onnxruntime could start only .*, expected "):
            load_policy(str(folder), backend="onnx", device=device)
        number = device.partition(":")[2] or "0"
        gpus = ALL_PROVIDERS[1 if device.startswith("cuda") else 0 : 2]
        assert started == [[*((name, {"device_id": number}) for name in gpus), ("CPUExecutionProvider", {})]]

    def test_a_gpu_that_onnxruntime_starts_is_kept_when_a_call_fails(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = StartsOnly(ALL_PROVIDERS)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL_PROVIDERS)
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: made)
        load_policy(str(folder), backend="onnx", device="tensorrt")
        assert not made.falls_back


ALL_PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class StartsOnly:
    """A session of onnxruntime that could start some providers only."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names, self.falls_back = list(names), True

    def get_providers(self) -> list[str]:
        return self.names

    def disable_fallback(self) -> None:
        self.falls_back = False


class Thrice(torch.nn.Module):
    """A network whose outputs are three times too large."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return 3 * self.inner(*given)


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of the GFDM, and it alone, is another network than torch's."""
    whole = export_module.write_graph

    def spoil(network: Network, path: Path) -> None:
        whole(network._replace(module=Thrice(network.module)) if path.name == "gfdm.onnx" else network, path)

    monkeypatch.setattr(export_module, "write_graph", spoil)


def test_a_graph_of_another_gfdm_is_refused_and_nothing_is_left(
    spoiled: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both inverse halves were given torch's features, so that no difference of the GFDM was ever seen."""
    folder = tiny_checkpoint(tmp_path / "policy").folder
    before = sorted(folder.iterdir())
    assert main(["export", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "outputs of gfdm.onnx differ by" in said and "expected at most 0.0001" in said
    assert "actions differ by" in said and "expected at most 0.001" in said
    assert "outputs of gidm.onnx" not in said
    assert sorted(folder.iterdir()) == before


def test_an_export_that_is_told_to_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_checkpoint(tmp_path / "policy").folder
    before, handler = sorted(folder.iterdir()), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(export_module, "compare", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["export", str(folder)]) == 130
    assert sorted(folder.iterdir()) == before
    assert signal.getsignal(signal.SIGTERM) == handler  # a library in this process may have its own


def assert_same(one: Policy, other: Policy, observation: Observation, state: Proprioception) -> None:
    chunks = [policy.act(policy.imagine(observation), state) for policy in (one, other)]
    np.testing.assert_allclose(chunks[0].targets, chunks[1].targets, atol=1e-5)
    np.testing.assert_allclose(chunks[0].gripper, chunks[1].gripper, atol=1e-4)


def test_a_policy_that_was_not_exported_says_how_to(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "policy").folder
    with pytest.raises(CheckpointError, match=r"has no onnx/export.json. Run `defi export "):
        load_policy(str(folder), backend="onnx")


def test_graphs_of_other_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "policy")
    (checkpoint.folder / "onnx").mkdir()
    manifest = {"format": FORMAT, "fingerprint": "someone else's"}
    (checkpoint.folder / "onnx" / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(
        CheckpointError, match=f"made from checkpoint someone else's, expected {checkpoint.fingerprint}"
    ):
        load_policy(str(checkpoint.folder), backend="onnx")


def test_a_half_written_manifest_of_graphs_says_how_to_make_them(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "policy")
    (checkpoint.folder / "onnx").mkdir()
    (checkpoint.folder / "onnx" / "export.json").write_text('{"format": 1, "finger')
    with pytest.raises(CheckpointError, match=r"onnx/export\.json is damaged\. Run `defi export "):
        load_policy(str(checkpoint.folder), backend="onnx")


def test_actions_that_are_not_finite_by_themselves_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(str(tiny_checkpoint(tmp_path / "policy").folder))
    imagination = policy.imagine(DefiPolicyContract().observation(policy))
    made = np.full((policy.spec.chunk_steps, 7), np.nan, np.float32)
    monkeypatch.setattr(policy._inverse, "actions", lambda *_: made)  # type: ignore[attr-defined]
    with pytest.raises(ContractError, match=r"from the networks, expected finite ones$"):
        policy.act(imagination, DefiPolicyContract().state())


@pytest.mark.parametrize("device", ["cuda:99", "tensorrt", "cdua"])
def test_a_device_that_torch_lacks_is_refused_with_those_there_are(device: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "policy").folder
    with pytest.raises(CheckpointError, match=rf"policy\.device: got '{device}', expected one of \['cpu'"):
        load_policy(str(folder), device=device)


@pytest.mark.parametrize(
    "command",
    [["export", "scripted"], ["inspect", "scripted"], ["imagine", "--policy", "scripted", "--task", "x", "--image"]],
)
def test_the_scripted_policy_has_no_networks_and_says_so(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was not known, and itself was offered in its place."""
    if command[0] == "imagine":
        cv2.imwrite(str(tmp_path / "now.png"), np.zeros((8, 8, 3), np.uint8))
        command = [*command, str(tmp_path / "now.png"), "--out", str(tmp_path / "future.mp4")]
    assert main(command) == 2
    assert "policy 'scripted' has no networks" in capsys.readouterr().err


def test_fewer_threads_than_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads: got -1, expected 1 or more, or 0"):
        load_policy("scripted", threads=-1)


class TestScriptedPolicy(PolicyContract):
    @pytest.fixture(scope="class")
    def scene(self) -> dict[str, float]:
        with World(cameras=()) as world:
            world.reset(3, task="open_drawer")
            return world.scene().to_mapping()

    @pytest.fixture
    def policy(self, scene: dict[str, float]) -> Policy:
        self.scene_now = scene
        return load_policy("scripted")

    def observation(self, policy: Policy, time_ns: int = 1_000) -> Observation:
        images = {name: np.zeros((8, 8, 3), np.uint8) for name in policy.spec.cameras}
        return Observation(time_ns, images, "open the drawer", self.scene_now)

    def test_without_ground_truth_it_says_that_it_needs_the_simulator(self, policy: Policy) -> None:
        with pytest.raises(ContractError, match="--sim only"):
            policy.imagine(Observation(0, {}, "open the drawer"))

    def test_the_plan_goes_on_with_time(self, policy: Policy) -> None:
        first = policy.act(policy.imagine(self.observation(policy, 0)), self.state())
        later = policy.act(policy.imagine(self.observation(policy, 100_000_000)), self.state())
        np.testing.assert_allclose(later.targets[:-1], first.targets[1:], atol=1e-6)

    def test_the_plan_waits_for_an_arm_left_behind(self, policy: Policy) -> None:
        for step in range(40):
            chunk = policy.act(policy.imagine(self.observation(policy, step * 100_000_000)), self.state())
        assert np.linalg.norm(chunk.targets[0, :3] - self.state().ee_pose[:3]) < 0.1

    def test_the_plan_does_not_wait_for_an_arm_that_is_ahead(self, policy: Policy) -> None:
        # Between chunks the arm goes on with the last one; a plan that waited for it to come back stood still for good.
        first = policy.act(policy.imagine(self.observation(policy, 0)), self.state())
        while np.linalg.norm(first.targets[-1, :3] - first.targets[0, :3]) < 0.1:
            state = replace(self.state(), ee_pose=first.targets[2])
            first = policy.act(policy.imagine(self.observation(policy, first.start_ns + 200_000_000)), state)
        ahead = replace(self.state(), ee_pose=first.targets[-1])
        later = policy.act(policy.imagine(self.observation(policy, first.start_ns + 200_000_000)), ahead)
        np.testing.assert_allclose(later.targets[0], first.targets[2], atol=1e-6)
