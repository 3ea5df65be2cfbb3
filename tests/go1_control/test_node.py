"""The node over real DDS, in real time, with the twin behind it."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from common.errors import ConfigError
from go1_control import health, messages, parameters
from go1_control.node import EXECUTOR_THREADS, ControlNode
from go1_control.publisher import StatePublisher
from robot import go1
from robot.driver import BaseVelocity, DriverError
from robot.gait import Gait
from robot.log.episode_log import list_episodes, read_episode, write_episode
from robot.log.recorder import RecorderStatus
from robot.stick import Stick, VelocityLimits
from robot.still_driver import StillDriver, StillVelocity
from robot.supervisor import Mode, SafetyEvent
from tests.offline_finetune.made_data import made_episode
from twin.robots import OpenRobot

WARN, ERROR = 1, 2


def test_a_session_from_configure_to_a_log(start_node, client, tmp_path):
    node = start_node(record_dir=tmp_path / "logs", session="first", notes="after the rain", velocity_source="t265", explore=True)
    joints, imu, odom = client.listen(JointState, "joint_states"), client.listen(Imu, "imu"), client.listen(Odometry, "odom")
    statistics = client.listen(Float64MultiArray, "/go1_control/loop_statistics")
    cmd_vel = client.node.create_publisher(Twist, "cmd_vel", 10)
    assert client.transition("configure") and client.state() == "inactive"
    refused = client.trigger("stand")
    assert not refused.success and "not active" in refused.message
    client.spin(0.5)
    assert not joints  # a node that is not active publishes no state
    assert client.transition("activate")
    assert "possible from ready; the robot is passive" in client.trigger("start").message
    assert client.trigger("stand").success
    started = client.trigger("start")
    log = tmp_path / "logs" / "first" / "episode_0000.hdf5"
    assert started.success and started.message == f"the policy acts, for 10 minutes at most; recorded to {log}"
    command = Twist()
    command.linear.x = 0.3
    joints.clear()
    statistics.clear()
    began = time.monotonic()
    while time.monotonic() - began < 3.0:
        cmd_vel.publish(command)
        client.spin(0.05)
    # By the node's own count: a client on a busy computer does not hear everything.
    (first_s, first), (last_s, last) = statistics[0], statistics[-1]
    assert 45 < (last.data[0] - first.data[0]) / (last_s - first_s) < 55
    assert len(joints) > 20
    standing = joints[-1][1]
    stopped = client.trigger("stop")
    assert stopped.success and "ended by operator" in stopped.message and stopped.message.endswith(f"; recorded to {log}")
    assert client.until(lambda: "recorder" in client.diagnostics and client.diagnostics["robot"][1] == "ready", 5.0)
    assert client.transition("deactivate") and client.transition("cleanup") and client.state() == "unconfigured"
    assert node.end() == 0

    assert tuple(standing.name) == go1.JOINT_NAMES
    np.testing.assert_allclose(standing.position, go1.DEFAULT_JOINT_POS, atol=0.3)
    assert abs(imu[-1][1].linear_acceleration.z - 9.81) < 3.0 and abs(imu[-1][1].orientation.w) <= 1.0
    assert odom[-1][1].child_frame_id == "trunk"
    assert statistics[-1][1].layout.dim[0].label == "ticks"
    [path] = list_episodes(tmp_path / "logs")
    episode = read_episode(path)
    assert episode.attributes.session == "first" and "after the rain" in episode.attributes.config_json
    assert f"seed {json.loads(episode.attributes.config_json)['seed']}\n" in node.printed
    assert episode.attributes.source == "twin:flat" and episode.attributes.ended == "operator"
    assert 140 <= len(episode.actions) <= 250
    assert (episode.command[40:140, 0] == np.float32(0.3)).all()
    assert np.diff(episode.stamp_s).max() < 0.1  # every tick is there
    assert episode.velocity_valid[-20:].all()


@pytest.mark.parametrize(("users", "seen"), [(None, "ASYNCHRONOUS"), ("AUTO", "AUTO")])
def test_fast_dds_is_told_to_send_from_a_thread_of_its_own_before_ros_looks(monkeypatch, users, seen):
    """rclpy holds Python's lock while it publishes."""
    from go1_control import node

    def init(**_):
        raise InterruptedError(os.environ["RMW_FASTRTPS_PUBLICATION_MODE"])

    monkeypatch.setenv("RMW_FASTRTPS_PUBLICATION_MODE", str(users))
    if users is None:
        monkeypatch.delenv("RMW_FASTRTPS_PUBLICATION_MODE")
    monkeypatch.setattr(node, "prepare_control_process", list)
    monkeypatch.setattr(node.rclpy, "init", init)
    with pytest.raises(InterruptedError, match=seen):
        node.main([])


def test_a_policy_that_does_not_load_is_refused_by_name(start_node, client, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no policy")
    node = start_node(policy=broken)
    assert not client.transition("configure") and client.state() == "unconfigured"
    assert client.until(lambda: client.diagnostics.get("configuration", (0, ""))[1] != "")
    level, reason, _ = client.diagnostics["configuration"]
    assert level == ERROR and "broken.onnx" in reason
    assert node.end() == 0 and "not configured" in node.printed


def test_a_value_outside_its_range_ends_the_node_at_once(start_node):
    node = start_node(power_level=0)
    assert node.process.wait(20) == 1
    node.end()
    assert "go1_control: " in node.printed and "power_level" in node.printed and "Traceback" not in node.printed


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"robot": "spot"}, "robot"), ({"velocity_source": "gps"}, "velocity source"), ({"terrain": "lava"}, "lava"),
     ({"robot": "replay"}, "replay log"), ({"robot": "go1"}, "robot_interface"),
     ({"session": "../x"}, "session is '../x'; it must be a plain name"),
     ({"record_dir": "/proc/logs"}, "/proc/logs cannot hold logs (No such file or directory); choose another record_dir")],
)  # fmt: skip
def test_what_cannot_be_used_is_named(configure, write_policy, parameters, named):
    assert named in configure(policy=write_policy().path, **parameters)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_damping(start_node, client, number, tmp_path):
    node = start_node(record_dir=tmp_path / "logs")
    client.bring_up()
    client.trigger("start")
    joints = client.listen(JointState, "joint_states")
    client.spin(0.5)
    assert node.end(number) == 0 and "Traceback" not in node.printed
    client.spin(0.5)  # what was on the way
    joints.clear()
    client.spin(0.5)
    assert not joints
    [path] = list_episodes(tmp_path / "logs")
    episode = read_episode(path)
    assert episode.attributes.ended == "safety" and episode.safety_events[-1] & SafetyEvent.ESTOP


def test_a_subscriber_learns_of_silence_and_of_death(start_node, client):
    from go1_control import qos

    node = start_node()
    late, alive = [], []
    events = qos.SubscriptionEventCallbacks(deadline=late.append, liveliness=alive.append)
    client.node.create_subscription(JointState, "joint_states", lambda _: None, qos.STATE, event_callbacks=events)
    client.bring_up(stand=False)
    assert client.until(lambda: any(info.alive_count for info in alive))
    client.spin(1.0)
    missed = len(late)
    assert client.transition("deactivate")
    assert client.until(lambda: len(late) > missed, 3.0)
    began = time.monotonic()
    node.end(signal.SIGKILL)
    assert client.until(lambda: alive[-1].alive_count == 0, 10.0)
    print(f"death was told after {time.monotonic() - began:.2f} s")


def child_of(node, module):
    """Process id of the node's child that runs this module."""
    return next(
        int(child)
        for task in Path(f"/proc/{node.process.pid}/task").iterdir()
        for child in (task / "children").read_text().split()
        if module in Path(f"/proc/{child}/cmdline").read_text()
    )


def test_without_a_guardian_a_robot_that_stands_is_warned_of_and_does_not_start(start_node, client):
    node = start_node()
    client.bring_up()
    os.kill(child_of(node, "robot.unitree.guardian"), signal.SIGKILL)
    assert client.until(lambda: "the guardian has died" in client.diagnostics["robot"][1], 5.0)
    assert client.diagnostics["robot"][0] == WARN and client.diagnostics["robot"][2]["mode"] == "ready"
    started = client.trigger("start")
    assert not started.success and "the guardian has died" in started.message


def test_a_dead_command_stream_ends_the_session_and_the_node_can_be_used_again(start_node, client):
    node = start_node()
    client.bring_up()
    os.kill(child_of(node, "robot.unitree.command_stream"), signal.SIGKILL)
    assert client.until(lambda: "DRIVER" in client.diagnostics["robot"][1], 5.0)
    assert client.transition("deactivate") and client.transition("cleanup")
    client.bring_up()


def test_a_recorded_walk_stands_in_for_a_robot(start_node, client, tmp_path):
    joint_pos = go1.DEFAULT_JOINT_POS + np.linspace(0.0, 0.05, 40)[:, None].astype(np.float32)
    episode = made_episode(40, joint_pos=joint_pos.astype(np.float32))
    start_node(robot="replay", replay_log=write_episode(tmp_path / "walk.hdf5", episode))
    joints = client.listen(JointState, "joint_states")
    client.bring_up(stand=False)
    assert client.until(lambda: len(joints) > 20)
    for _, message in joints:
        difference = np.abs(episode.joint_pos - np.array(message.position, dtype=np.float32)).max(axis=1)
        assert difference.min() < 1e-6


def given_once(name):
    """A field that another thread sets to None as soon as it was looked at."""
    return property(lambda self: vars(self).pop(name, None), lambda self, value: vars(self).__setitem__(name, value))


def test_a_robot_that_is_let_go_of_meanwhile_ends_no_callback(here):
    class Fleeting(ControlNode):
        _session, _robot, _stick, _recorder = (given_once(name) for name in ("session", "robot", "stick", "recorder"))

    node = Fleeting(parameter_overrides=[], **here)
    called = []
    try:
        node._session = SimpleNamespace(estop=lambda: called.append("estop"))
        assert node._estop(Trigger.Request(), Trigger.Response()).message == "damping"
        node._robot = SimpleNamespace(odometry=SimpleNamespace(receive=lambda *_: called.append("odometry")))
        node._on_odometry(Odometry())
        node._stick = stick = Stick(VelocityLimits(), Gait())
        node._on_cmd_vel(Twist())
        node._stick = stick
        assert node._on_parameters([Parameter("gait_frequency", value=2.5)]).successful
        assert called == ["estop", "odometry"] and stick.is_fresh(time.monotonic()) and stick.gait.gait_frequency == 2.5
    finally:
        node.destroy_node()


def test_a_recorder_that_died_between_episodes_is_told_in_words():
    level, said, values = health._recorder(RecorderStatus(10, 10, 0, "", alive=False))
    assert level == health.WARN and "has ended" in said and not values["alive"]


def test_notes_that_no_log_can_hold_are_refused_before_the_robot_is_connected(here, write_policy):
    given = {"policy": str(write_policy().path), "notes": "x" * 4001}
    node = ControlNode(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()], **here)
    try:
        with pytest.raises(ConfigError, match="at most 4,000 characters"):
            parameters.settings(node)
    finally:
        node.destroy_node()


def test_each_configuration_has_its_own_luck_unless_a_seed_is_given(here, write_policy):
    node = ControlNode(parameter_overrides=[Parameter("policy", value=str(write_policy().path))], **here)
    try:
        drawn = [parameters.settings(node) for _ in range(10)]
        assert len({each.seed for each in drawn}) == 10 and all(each.seed == each.robot.seed >= 0 for each in drawn)
        node.set_parameters([Parameter("seed", value=0)])
        assert parameters.settings(node).seed == 0
    finally:
        node.destroy_node()


def period_of(valid):
    """One control period of a robot that stands, whose velocity is known or not."""
    driver = StillDriver()
    driver.connect()
    state = driver.read()
    velocity = np.array([0.3, 0.1, 0.0]) if valid else np.full(3, np.nan)
    return SimpleNamespace(state=state, velocity=BaseVelocity(velocity, velocity, "made", 0.0, valid))


def test_odometry_comes_in_every_period_and_says_when_its_velocity_is_not_known(here):
    """Its deadline would tell that the robot has fallen silent."""
    sent = []
    node = Node("teller", context=here["context"])
    publisher = StatePublisher(node, {messages.odometry: SimpleNamespace(publish=sent.append)})
    try:
        for valid in (True, False):
            publisher.offer(period_of(valid))
            end_s = time.monotonic() + 5.0
            while len(sent) < 1 + (not valid):
                assert time.monotonic() < end_s
                time.sleep(0.005)
    finally:
        publisher.close()
        node.destroy_node()
    known, unknown = (message.twist for message in sent)
    assert (known.twist.linear.x, known.twist.angular.y) == (0.3, 0.1) and not known.covariance.any()
    assert (unknown.twist.linear.x, unknown.twist.angular.y) == (0.0, 0.0)
    np.testing.assert_array_equal(unknown.covariance.reshape(6, 6), 1e6 * np.eye(6))


def until(condition):
    end_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def standing_node(here, write_policy, monkeypatch):
    """A node in this process, whose still robot stands, and what calls its services."""
    monkeypatch.setattr("go1_control.node.open_robot", lambda *_: OpenRobot(StillDriver(clock=time.monotonic), StillVelocity(), "still"))
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])
    node, caller = ControlNode(parameter_overrides=[Parameter("policy", value=str(write_policy().path))], **here), Node("caller", **here)
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS, context=here["context"])
    for each in (node, caller):
        executor.add_node(each)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()

    def call(name):
        client = caller.create_client(Trigger, f"go1_control/{name}")
        assert client.wait_for_service(5.0)
        return client.call_async(Trigger.Request())

    try:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        stood = call("stand")
        until(stood.done)
        assert stood.result().success, stood.result().message
        yield node, call
    finally:
        executor.shutdown()
        spinning.join()
        node.close()
        for each in (node, caller):
            each.destroy_node()


def test_a_stop_does_not_wait_until_the_start_has_been_answered(standing_node, monkeypatch):
    """An answer to ~/start waits for the disk."""
    node, call = standing_node
    released = threading.Event()
    monkeypatch.setattr("go1_control.node.EpisodeRecording.begun", lambda _recording: str(released.wait(20.0)))
    try:
        started = call("start")
        until(lambda: node._session.mode is Mode.POLICY)
        stopped = call("stop")
        until(stopped.done)
        assert stopped.result().success and "ended by operator" in stopped.result().message
        assert not started.done()
    finally:
        released.set()
    until(started.done)


def test_a_stop_ends_a_walk_that_is_still_being_prepared(standing_node, monkeypatch):
    node, call = standing_node
    asked, released = threading.Event(), threading.Event()

    def prepare():
        asked.set()
        released.wait(20.0)

    monkeypatch.setattr(node, "_next_path", prepare)
    try:
        started = call("start")
        until(asked.is_set)
        stopped = call("stop")
        until(stopped.done)
        assert stopped.result().success and stopped.result().message == "the walk that was about to begin ends at once"
    finally:
        released.set()
    until(started.done)
    assert not started.result().success and node._session.mode is Mode.READY
    again = call("start")
    until(again.done)
    assert again.result().success, again.result().message


@pytest.mark.parametrize("active", [True, False])
def test_a_control_loop_that_dies_ends_the_session_is_told_and_the_node_can_be_used_again(here, write_policy, monkeypatch, capfd, active):
    class Fragile(StillDriver):
        broken = closed = False

        def read(self):
            if self.broken:
                raise DriverError("the cable is off")
            return super().read()

        def close(self):
            super().close()
            self.closed = True

    def open_fragile(_wanted, _closing):
        drivers.append(Fragile(clock=time.monotonic))
        return OpenRobot(drivers[-1], StillVelocity(), "still")

    def answer():
        return node._stand(Trigger.Request(), Trigger.Response())

    drivers = []
    monkeypatch.setattr("go1_control.node.open_robot", open_fragile)
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])
    node = ControlNode(parameter_overrides=[Parameter("policy", value=str(write_policy().path))], **here)
    executor = SingleThreadedExecutor(context=here["context"])
    executor.add_node(node)
    try:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if active:
            assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        drivers[0].broken = True
        end_s = time.monotonic() + 5.0
        while not drivers[0].closed:
            assert time.monotonic() < end_s
            executor.spin_once(timeout_sec=0.02)
        assert not answer().success and answer().message == "the node is not active; activate it first"
        assert "the control loop ended, the robot is damped: the cable is off" in capfd.readouterr().err
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS and answer().success
    finally:
        executor.shutdown()
        node.close()
        node.destroy_node()
