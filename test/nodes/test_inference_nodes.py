"""imagination_node, action_node and inference_node with a played policy, robot and cameras."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import Image
from std_msgs.msg import String

from defi_models.contract import ContractError, Imagination
from defi_models.inference import load
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState, Instruction
from defi_msgs.msg import Imagination as ImaginationMsg
from defi_msgs.srv import LoadPolicy
from defi_ros.bridge import qos
from defi_ros.bridge.convert import chunk_from, imagination_from, imagination_to, to_ns
from defi_ros.nodes.action_node import ActionNode
from defi_ros.nodes.imagination_node import ImaginationNode
from defi_ros.nodes.inference_node import InferenceNode

specification = importlib.util.spec_from_file_location("fake_policy", Path(__file__).parent / "fake_policy.py")
assert specification is not None and specification.loader is not None
fake_policy = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fake_policy)

pytestmark = pytest.mark.ros


@pytest.fixture
def shelf(monkeypatch):
    made = fake_policy.Shelf()
    monkeypatch.setattr(load, "read_spec", made.read_spec)
    monkeypatch.setattr(load, "load_policy", made.load_policy)
    return made


@pytest.fixture
def policy(shelf):
    made = shelf.policies["nano"]
    yield made


class Asker:
    """Says instructions, latched, as task_node does."""

    def __init__(self, graph):
        self._publisher = graph.speaker("instruction", Instruction, qos.LATCHED)

    def ask(self, text):
        self._publisher.publish(Instruction(text=text, task_id=text))


@pytest.fixture
def asker(graph):
    return Asker(graph)


def forget(policy):
    """Drops what the warm-up left."""
    policy.observations.clear()
    policy.imaginations.clear()
    policy.known.clear()


# imagination_node ----------------------------------------------------------------------------------------------------


@pytest.fixture
def imagination(graph, robot, shelf):
    robot.start()
    heard = graph.listen("imagination", ImaginationMsg, qos.STREAM)
    node = graph.start(ImaginationNode, **{"policy.replan_s": 0.05})
    forget(shelf.policies["nano"])
    return node, heard


def test_nothing_is_imagined_until_something_is_asked(graph, imagination, asker, policy):
    node, heard = imagination
    graph.until(lambda: node._stage._cameras._used_ns)
    assert not policy.observations and not heard
    asker.ask("open the drawer")
    message = graph.until(lambda: heard and heard[-1])
    assert message.instruction == "open the drawer" and message.policy == "fake-1"
    asker.ask("")
    graph.until(lambda: not node._stage.instruction)
    count = len(policy.observations)
    used_ns = node._stage._cameras._used_ns
    graph.until(lambda: node._stage._cameras._used_ns > used_ns + 10**8)
    assert len(policy.observations) <= count + 1


def test_what_is_imagined_is_dated_by_the_images_it_starts_from(graph, robot, imagination, asker, policy):
    _, heard = imagination
    robot.image = np.full((128, 128, 3), 70, dtype=np.uint8)
    asker.ask("open the drawer")
    message = graph.until(lambda: next((m for m in heard if imagination_from(m).features[0, 0] == 70.0), None))
    assert to_ns(message.header.stamp) in {observation.time_ns for observation in policy.observations}
    assert imagination_from(message).features.shape == (2, 3)
    assert set(policy.observations[-1].images) == {"static", "wrist"}


def test_every_inference_starts_from_newer_images_and_not_sooner_than_replan_s(graph, imagination, asker, policy):
    _, heard = imagination
    asker.ask("open the drawer")
    graph.until(lambda: len(heard) >= 6)
    stamps = np.array([observation.time_ns for observation in policy.observations])
    assert (np.diff(stamps) > 0).all()
    assert np.median(np.diff(stamps)) > 0.04e9


def test_a_slow_policy_never_works_through_a_queue(graph, imagination, asker, policy):
    node, heard = imagination
    policy.delay_s = 0.15
    asker.ask("open the drawer")
    ages_s = []
    while len(heard) < 4:
        count = len(heard)
        graph.until(lambda count=count: len(heard) > count)
        ages_s.append((node.now_ns() - to_ns(heard[-1].header.stamp)) / 1e9)
    assert np.median(ages_s) < 0.15 + 0.15


def test_a_camera_that_falls_silent_is_named_and_nothing_is_imagined(graph, robot, imagination, asker, policy):
    node, heard = imagination
    asker.ask("open the drawer")
    graph.until(lambda: heard)
    robot.silent.add("wrist")
    graph.until(lambda: "camera 'wrist' has sent nothing for" in graph.diagnostics(node)["message"])
    assert "camera/wrist/image_raw" in graph.diagnostics(node)["message"]
    count = len(policy.observations)
    robot.silent.clear()
    graph.until(lambda: len(policy.observations) > count)
    graph.until(lambda: not graph.diagnostics(node)["error"])


def test_a_camera_that_turns_black_is_named_to_the_arm_at_once_and_forgiven_when_it_sees(
    graph, robot, imagination, asker, policy
):
    _, heard = imagination
    said = graph.listen("imagination_node/trouble", String, qos.LATCHED)
    graph.until(lambda: said and said[-1].data == "")
    asker.ask("open the drawer")
    graph.until(lambda: heard)
    robot.image = np.zeros((128, 128, 3), dtype=np.uint8)
    graph.until(lambda: "camera 'static': is black" in said[-1].data)
    count = len(policy.observations)
    robot.image = np.full((128, 128, 3), 61, dtype=np.uint8)
    graph.until(lambda: len(policy.observations) > count and said[-1].data == "")


def test_an_image_of_another_size_is_named(graph, robot, imagination):
    node, _ = imagination
    robot.image = np.full((64, 128, 3), 60, dtype=np.uint8)
    graph.until(lambda: "got frames of 128x64 px, expected 128x128" in graph.diagnostics(node)["message"])


def test_a_camera_of_another_size_fails_configure(graph, robot, shelf):
    robot.image = np.full((64, 128, 3), 60, dtype=np.uint8)
    robot.start()
    node = graph.add(ImaginationNode)
    assert not node.bring_up()
    assert "got frames of 128x64 px, expected 128x128" in node.failure


def test_an_inference_that_takes_too_long_is_told_while_it_runs(graph, imagination, asker, policy):
    said = graph.listen("imagination_node/trouble", String, qos.LATCHED)
    policy.delay_s = 1.0
    asker.ask("open the drawer")
    graph.until(
        lambda: any("imagining has taken 0." in one.data and "s so far, limit 0.3 s" in one.data for one in said)
    )
    policy.delay_s = 0.0
    graph.until(lambda: said[-1].data == "")


def test_images_that_cannot_be_read_are_named(graph, robot, imagination, monkeypatch):
    node, _ = imagination
    robot.silent.add("static")
    bad = graph.speaker("camera/static/image_raw", Image, qos.IMAGES)
    graph.until(bad.get_subscription_count)
    bad.publish(Image(encoding="yuv422"))
    graph.until(lambda: "got encoding 'yuv422'" in graph.diagnostics(node)["message"])


def test_a_refusal_of_the_policy_is_shown_and_the_node_goes_on(graph, imagination, asker, policy):
    node, heard = imagination
    policy.imagine_raises = ContractError("instruction: got 90 words, expected at most 16")
    asker.ask("open the drawer")
    graph.until(lambda: "got 90 words" in graph.diagnostics(node)["message"])
    policy.imagine_raises = None
    graph.until(lambda: heard)
    graph.until(lambda: not graph.diagnostics(node)["error"])


def test_imagined_images_are_decoded_only_while_somebody_looks(graph, imagination, asker, policy):
    _, heard = imagination
    asker.ask("open the drawer")
    graph.until(lambda: len(heard) > 3)
    assert policy.watched == 0
    seen = graph.listen("imagined/static/image", Image, qos.IMAGES)
    image = graph.until(lambda: seen and seen[-1])
    assert (image.height, image.width, image.encoding) == (8, 8, "rgb8")


def test_a_camera_that_never_sends_fails_configure_by_name(graph, robot, shelf):
    robot.silent.add("wrist")
    robot.start()
    node = graph.add(ImaginationNode, **{"policy.camera_timeout_s": 1.5})
    assert not node.bring_up()
    assert "camera 'wrist' has sent nothing for 1.5 s on camera/wrist/image_raw" in node.failure


def test_without_any_camera_configure_waits_for_the_robot_to_start_and_says_so(graph, shelf):
    node = graph.add(ImaginationNode, start_timeout_s=0.4, **{"policy.camera_timeout_s": 0.2})
    assert not node.bring_up()
    assert "camera 'static' has sent nothing for 0." in node.failure
    assert "Publishers of that topic: none" in node.failure


def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(graph, shelf):
    node = graph.add(ImaginationNode, **{"policy.path": "nanno"})
    assert not node.bring_up()
    assert "no policy 'nanno'. Shipped: ['nano']" in node.failure


def test_a_policy_that_does_not_fit_the_robot_is_refused_before_its_weights_are_loaded(graph, shelf):
    shelf.add("other", arm="ur5e")
    node = graph.add(ImaginationNode, **{"policy.path": "other"})
    assert not node.bring_up()
    assert "got a policy for 'ur5e', expected 'franka_panda'" in node.failure
    assert not shelf.loaded


def test_a_policy_that_needs_the_scene_gets_it(graph, robot, shelf, asker):
    policy = shelf.add("scripted", needs_scene=True)
    robot.scene = {"drawer": [0.12], "red_block": np.arange(7.0)}
    robot.start()
    graph.start(ImaginationNode, **{"policy.path": "scripted"})
    asker.ask("open the drawer")
    scene = graph.until(lambda: policy.observations and policy.observations[-1].scene)
    assert scene["drawer"] == 0.12 and [scene[f"red_block.{index}"] for index in range(7)] == list(range(7))


def test_a_policy_that_needs_a_scene_nobody_tells_fails_configure(graph, robot, shelf):
    shelf.add("scripted", needs_scene=True)
    robot.start()
    node = graph.add(ImaginationNode, **{"policy.path": "scripted", "policy.camera_timeout_s": 2.0})
    assert not node.bring_up()
    assert "scene_state has sent nothing for 2.0 s" in node.failure and "simulation only" in node.failure


# load_policy ---------------------------------------------------------------------------------------------------------


def load_request(graph, path):
    """The answer to load_policy."""
    client = graph.peer.create_client(LoadPolicy, "imagination_node/load_policy")
    graph.until(client.service_is_ready)
    future = client.call_async(LoadPolicy.Request(path=path))
    graph.until(future.done)
    return future.result()


def test_a_policy_is_swapped_while_the_node_runs(graph, imagination, asker, shelf):
    _, heard = imagination
    shelf.add("better", fingerprint="fake-2")
    asker.ask("open the drawer")
    graph.until(lambda: heard and heard[-1].policy == "fake-1")
    answer = load_request(graph, "better")
    assert answer.loaded and answer.fingerprint == "fake-2" and not answer.reason
    graph.until(lambda: heard[-1].policy == "fake-2")


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        ("missing", None, "no policy 'missing'"),
        ("other", {"arm": "ur5e"}, "got a policy for 'ur5e'"),
        ("scripted", {"needs_scene": True}, "needs other inputs"),
    ],
)
def test_a_refused_swap_keeps_the_old_policy_and_says_why(graph, imagination, shelf, path, changes, reason):
    if changes:
        shelf.add(path, **changes)
    answer = load_request(graph, path)
    assert not answer.loaded and reason in answer.reason
    assert answer.fingerprint == "fake-1"


# action_node ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def action(graph, robot, shelf, panda_urdf):
    robot.start(panda_urdf)
    heard = graph.listen("action_chunk", ActionChunkMsg, qos.STREAM)
    node = graph.start(ActionNode)
    forget(shelf.policies["nano"])
    imaginations = graph.speaker("imagination", ImaginationMsg, qos.STREAM)
    graph.until(imaginations.get_subscription_count)
    graph.until(
        lambda: len(node._stage._joints._history._samples) > 20 and node._stage._chunks.get_subscription_count()
    )
    return node, heard, imaginations


def imagined(graph, policy="fake-1", shape=(2, 3), ago_s=0.02):
    """An imagination of now."""
    now_ns = graph.peer.get_clock().now().nanoseconds
    return Imagination(now_ns - int(ago_s * 1e9), "lift", policy, np.ones(shape, dtype=np.float32), 30.0)


def test_an_imagination_becomes_a_chunk_dated_by_its_observation(graph, robot, action, policy):
    _, heard, imaginations = action
    offered: list[int] = []

    def answered():
        if not offered or graph.peer.get_clock().now().nanoseconds - offered[-1] > 0.3e9:
            imaginations.publish(imagination_to(imagined(graph)))
            offered.append(graph.peer.get_clock().now().nanoseconds)
        return heard

    chunk = chunk_from(graph.until(answered)[-1])
    assert chunk.start_ns == policy.imaginations[-1].time_ns and chunk.instruction == "lift"
    assert (chunk.imagination_ms, chunk.inference_ms) == (30.0, 2.5)
    np.testing.assert_allclose(chunk.targets[0], robot.positions[:7])
    known = policy.known[-1]
    assert known.time_ns == chunk.start_ns and known.gripper == pytest.approx(1.0)


def test_with_rtc_the_policy_is_told_what_the_arm_will_do_before_its_chunk_can_come(graph, robot, shelf, panda_urdf):
    policy = shelf.policies["nano"]
    robot.start(panda_urdf)
    imaginations = graph.speaker("imagination", ImaginationMsg, qos.STREAM)
    states = graph.speaker("control_state", ControlState, qos.STREAM)
    chunks = graph.listen("action_chunk", ActionChunkMsg, qos.STREAM)
    node = graph.start(ActionNode, **{"control.blending": "rtc"})
    graph.until(lambda: imaginations.get_subscription_count() and states.get_subscription_count())
    graph.until(
        lambda: len(node._stage._joints._history._samples) > 20 and node._stage._chunks.get_subscription_count()
    )

    def promised_once(state=None):
        """What the policy is told for the next chunk."""
        if state is not None:
            states.publish(state)
        said, asked_s = len(chunks), 0.0

        def answered():
            nonlocal asked_s
            if time.monotonic() - asked_s > 0.3:
                asked_s = time.monotonic()
                imaginations.publish(imagination_to(imagined(graph)))
            return len(chunks) > said

        graph.until(answered)
        return policy.promised[-1]

    assert promised_once() is None
    executed = chunks[-1].header.stamp
    policy_moves = ControlState(mode=ControlState.POLICY, chunk_stamp=executed)
    promised = graph.until(lambda: promised_once(policy_moves))
    assert to_ns(executed) < promised.chunk.start_ns == to_ns(chunks[-1].header.stamp)
    assert 1 <= (promised.weights == 1.0).sum() <= 4
    person_moves = ControlState(mode=ControlState.TELEOP, chunk_stamp=executed)
    graph.until(lambda: promised_once(person_moves) is None)


def test_the_arm_is_looked_up_where_it_was_when_the_image_was_taken(graph, robot, action, policy):
    node, heard, imaginations = action
    samples = node._stage._joints._history._samples

    def two_close_together():
        """The time of the first; a busy machine now and then leaves a gap that would be refused."""
        return len(samples) > 1 and samples[-1].time_ns - samples[-2].time_ns < 50_000_000 and samples[-2].time_ns

    known_ns = graph.until(two_close_together)
    robot.positions[6] += 0.5
    graph.until(lambda: node._stage._joints._history.newest.positions[6] > 1.2)
    wanted = Imagination(known_ns, "lift", "fake-1", np.ones((2, 3), dtype=np.float32))
    imaginations.publish(imagination_to(wanted))
    graph.until(lambda: heard)
    assert policy.known[-1].positions[6] == pytest.approx(0.7854)


def test_an_imagination_of_another_checkpoint_is_refused_with_both_names(graph, action, policy):
    node, heard, imaginations = action
    imaginations.publish(imagination_to(imagined(graph, policy="other")))
    graph.until(lambda: "made by checkpoint other, expected fake-1" in graph.diagnostics(node)["message"])
    assert not heard and not policy.known
    imaginations.publish(imagination_to(imagined(graph)))
    graph.until(lambda: heard and not graph.diagnostics(node)["error"])


def test_an_imagination_of_another_shape_is_refused(graph, action):
    node, _, imaginations = action
    imaginations.publish(imagination_to(imagined(graph, shape=(3, 3))))
    graph.until(lambda: "got shape (3, 3), expected (2, 3)" in graph.diagnostics(node)["message"])


def test_without_fresh_joint_states_nothing_is_inferred(graph, robot, action, policy):
    node, heard, imaginations = action
    robot.silent.add("joint_states")
    newest_ns = node._stage._joints._history.newest.time_ns
    graph.until(lambda: node.now_ns() - newest_ns > 0.2e9)
    imaginations.publish(imagination_to(imagined(graph)))
    graph.until(lambda: "joint_states: newest is" in graph.diagnostics(node)["message"])
    assert not heard


# inference_node ------------------------------------------------------------------------------------------------------


@pytest.fixture
def inference(graph, robot, shelf, panda_urdf):
    robot.start(panda_urdf)
    chunks = graph.listen("action_chunk", ActionChunkMsg, qos.STREAM)
    node = graph.start(InferenceNode, **{"policy.replan_s": 0.05})
    forget(shelf.policies["nano"])
    return node, chunks


def test_both_halves_in_one_process_hand_features_over_by_reference(graph, inference, asker, policy, monkeypatch):
    _, chunks = inference
    monkeypatch.setattr("defi_ros.nodes.imagination_stage.imagination_to", pytest.fail)
    handed: list[Imagination] = []
    real = policy.imagine
    policy.imagine = lambda observation: handed.append(real(observation)) or handed[-1]
    asker.ask("open the drawer")
    graph.until(lambda: chunks)
    graph.until(lambda: policy.imaginations)
    assert policy.imaginations[0].features is handed[0].features


def test_one_process_says_both_topics_when_somebody_listens(graph, inference, asker):
    _, chunks = inference
    imaginations = graph.listen("imagination", ImaginationMsg, qos.STREAM)
    asker.ask("open the drawer")
    graph.until(lambda: len(chunks) > 3 and len(imaginations) > 3)
    assert {to_ns(m.header.stamp) for m in imaginations} & {to_ns(m.header.stamp) for m in chunks}


def test_overhead_from_the_newest_image_to_the_chunk_is_small(graph, inference, asker):
    node, chunks = inference
    asker.ask("open the drawer")
    ages_ms = []
    started = time.monotonic()
    while len(ages_ms) < 15 and time.monotonic() - started < 5.0:
        count = len(chunks)
        graph.until(lambda count=count: len(chunks) > count)
        ages_ms.append((node.now_ns() - to_ns(chunks[-1].header.stamp)) / 1e6)
    assert np.median(ages_ms) < 15.0
