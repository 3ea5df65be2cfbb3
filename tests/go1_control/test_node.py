"""The node over real DDS, in real time, with the twin behind it."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray

from robot import go1
from robot.episode_log import list_episodes, read_episode, write_episode
from robot.supervisor import SafetyEvent
from tests.offline_finetune.made_data import made_episode

ERROR = 2


def listen(client, kind, topic, qos=10):
    heard = []
    client.node.create_subscription(kind, topic, lambda message: heard.append((time.monotonic(), message)), qos)
    return heard


def bring_up(client, stand=True):
    assert client.transition("configure") and client.transition("activate")
    if stand:
        answer = client.trigger("stand")
        assert answer.success, answer.message


def test_a_session_from_configure_to_a_log(start_node, client, tmp_path):
    node = start_node(record_dir=tmp_path / "logs", session="first", notes="after the rain", velocity_source="t265", explore=True)
    joints, imu, odom = listen(client, JointState, "joint_states"), listen(client, Imu, "imu"), listen(client, Odometry, "odom")
    statistics = listen(client, Float64MultiArray, "/go1_control/loop_statistics")
    cmd_vel = client.node.create_publisher(Twist, "cmd_vel", 10)
    assert client.transition("configure") and client.state() == "inactive"
    refused = client.trigger("stand")
    assert not refused.success and "not active" in refused.message
    client.spin(0.5)
    assert not joints  # a node that is not active publishes no state
    assert client.transition("activate")
    assert "possible from ready; the robot is passive" in client.trigger("start").message
    assert client.trigger("stand").success
    assert client.trigger("start").success
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
    assert stopped.success and "ended by operator" in stopped.message
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
    assert episode.attributes.source == "twin:flat" and episode.attributes.ended == "operator"
    assert 140 <= len(episode.actions) <= 250
    assert (episode.command[40:140, 0] == np.float32(0.3)).all()
    assert np.diff(episode.stamp_s).max() < 0.1  # every tick is there
    assert episode.velocity_valid[-20:].all()


def test_a_policy_that_does_not_load_is_refused_by_name(start_node, client, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no policy")
    node = start_node(policy=broken)
    assert not client.transition("configure") and client.state() == "unconfigured"
    assert client.until(lambda: client.diagnostics.get("configuration", (0, ""))[1] != "")
    level, reason, _ = client.diagnostics["configuration"]
    assert level == ERROR and "broken.onnx" in reason
    assert node.end() == 0 and "not configured" in node.printed


def test_estop_acts_in_every_mode_and_a_person_rearms(start_node, client):
    start_node()
    bring_up(client)
    client.trigger("start")
    client.spin(0.3)
    assert client.trigger("estop").success
    assert client.until(lambda: "robot" in client.diagnostics and client.diagnostics["robot"][1].startswith("damped by ESTOP"), 5.0)
    assert not client.trigger("stand").success
    assert client.trigger("rearm").success
    assert not client.trigger("rearm").success
    assert client.trigger("stand").success


def test_without_cmd_vel_the_robot_is_told_to_stand_on_the_spot(start_node, client, tmp_path):
    start_node(record_dir=tmp_path / "logs", cmd_vel_timeout=0.3)
    cmd_vel = client.node.create_publisher(Twist, "cmd_vel", qos_profile_sensor_data)
    bring_up(client)
    client.trigger("start")
    command = Twist()
    command.linear.x = 9.0  # beyond what is allowed
    for _ in range(10):
        cmd_vel.publish(command)
        client.spin(0.05)
    command.linear.x = float("nan")  # counts as none
    for _ in range(20):
        cmd_vel.publish(command)
        client.spin(0.05)
    assert client.until(lambda: "stand on the spot" in client.diagnostics.get("commands", (0, ""))[1], 5.0)
    assert client.trigger("stop").success
    assert client.until(lambda: bool(list_episodes(tmp_path / "logs") if (tmp_path / "logs").exists() else []))
    vx = read_episode(list_episodes(tmp_path / "logs")[0]).command[:, 0]
    assert vx.max() == 1.5 and vx[-1] == 0.0
    commanded = np.flatnonzero(vx)
    assert commanded[-1] - commanded[0] < 50


def test_parameters_are_typed_ranged_and_fixed_while_configured(start_node, client):
    start_node()
    [wrong] = client.set(power_level=11)
    assert not wrong.successful
    [wrong] = client.set(gait_frequency="fast")
    assert not wrong.successful
    [right] = client.set(session="second")
    assert right.successful
    bring_up(client, stand=False)
    [fixed] = client.set(session="third")
    assert not fixed.successful and "while the node is configured" in fixed.reason
    [gait] = client.set(gait_frequency=2.5)
    assert gait.successful
    [gait] = client.set(gait_frequency=20.0)
    assert not gait.successful


def test_a_value_outside_its_range_ends_the_node_at_once(start_node):
    node = start_node(power_level=0)
    assert node.process.wait(20) == 1
    node.end()
    assert "go1_control: " in node.printed and "power_level" in node.printed and "Traceback" not in node.printed


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"robot": "spot"}, "robot"), ({"velocity_source": "gps"}, "velocity source"), ({"terrain": "lava"}, "lava"),
     ({"robot": "replay"}, "replay log"), ({"robot": "go1"}, "robot_interface"),
     ({"session": "../x"}, "session is '../x'; it must be a plain name")],
)  # fmt: skip
def test_what_cannot_be_used_is_named(start_node, client, parameters, named):
    start_node(**parameters)
    assert not client.transition("configure")
    assert client.until(lambda: named in client.diagnostics.get("configuration", (0, ""))[1])


def test_foreign_odometry_is_the_velocity_source(start_node, client, tmp_path):
    start_node(record_dir=tmp_path / "logs", velocity_source="odometry")
    publisher = client.node.create_publisher(Odometry, "odometry_in", 10)
    bring_up(client)
    client.trigger("start")
    message = Odometry()
    message.pose.pose.orientation.w = 1.0
    message.twist.twist.linear.x = 0.123
    for _ in range(60):
        publisher.publish(message)
        client.spin(0.02)
    assert client.trigger("stop").success
    assert client.until(lambda: bool(list_episodes(tmp_path / "logs") if (tmp_path / "logs").exists() else []))
    episode = read_episode(list_episodes(tmp_path / "logs")[0])
    assert episode.attributes.velocity_source == "odometry+legs"
    assert (np.abs(episode.base_lin_vel_b[:, 0] - 0.123) < 1e-4).sum() > 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_damping(start_node, client, number, tmp_path):
    node = start_node(record_dir=tmp_path / "logs")
    bring_up(client)
    client.trigger("start")
    joints = listen(client, JointState, "joint_states")
    client.spin(0.5)
    assert node.end(number) == 0 and "Traceback" not in node.printed
    client.spin(0.5)  # what was on the way
    joints.clear()
    client.spin(0.5)
    assert not joints
    [path] = list_episodes(tmp_path / "logs")
    episode = read_episode(path)
    assert episode.attributes.ended == "safety" and episode.safety_events[-1] & SafetyEvent.ESTOP


def test_subscribers_with_other_wishes(start_node, client):
    """What fits every ordinary subscriber, what does not is told on both sides."""
    from go1_control import qos

    start_node()
    best_effort = listen(client, JointState, "joint_states", qos_profile_sensor_data)
    reliable = listen(client, JointState, "joint_states", QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE))
    mismatches = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    events = qos.SubscriptionEventCallbacks(incompatible_qos=mismatches.append)
    client.node.create_subscription(JointState, "joint_states", lambda _: None, latched, event_callbacks=events)
    bring_up(client, stand=False)
    assert client.until(lambda: len(best_effort) > 20 and len(reliable) > 20)
    assert client.until(lambda: bool(mismatches))
    assert client.until(lambda: "joint_states" in client.diagnostics.get("commands", (0, ""))[1])


def test_a_subscriber_learns_of_silence_and_of_death(start_node, client):
    from go1_control import qos

    node = start_node()
    late, alive = [], []
    events = qos.SubscriptionEventCallbacks(deadline=late.append, liveliness=alive.append)
    client.node.create_subscription(JointState, "joint_states", lambda _: None, qos.STATE, event_callbacks=events)
    bring_up(client, stand=False)
    assert client.until(lambda: any(info.alive_count for info in alive))
    client.spin(1.0)
    missed = len(late)
    assert client.transition("deactivate")
    assert client.until(lambda: len(late) > missed, 3.0)
    began = time.monotonic()
    node.end(signal.SIGKILL)
    assert client.until(lambda: alive[-1].alive_count == 0, 10.0)
    print(f"death was told after {time.monotonic() - began:.2f} s")


def test_transitions_in_an_odd_order_are_refused_and_the_node_goes_on(start_node, client):
    node = start_node()
    assert not client.transition("activate") and not client.transition("cleanup")
    assert client.transition("configure") and not client.transition("configure")
    assert client.transition("activate") and not client.transition("cleanup")
    assert client.trigger("stand").success
    assert not client.transition("configure")
    assert client.state() == "active" and client.transition("deactivate")
    assert "not active" in client.trigger("rearm").message
    assert client.transition("activate")
    assert client.trigger("rearm").success and client.trigger("stand").success
    assert client.transition("deactivate") and client.transition("cleanup")
    assert client.transition("configure")  # again, with another robot process
    assert node.end() == 0


def test_requests_while_the_policy_acts_are_refused_at_once_and_not_granted_later(start_node, client):
    start_node()
    bring_up(client)
    assert client.trigger("start").success
    began = time.monotonic()
    for name in ("rearm", "stand", "start"):
        answer = client.trigger(name)
        assert not answer.success and answer.message
    assert time.monotonic() - began < 3.0
    assert client.trigger("estop").success
    client.spin(1.0)
    assert client.until(lambda: client.diagnostics["robot"][1].startswith("damped by ESTOP"))


def test_a_dead_command_stream_ends_the_session_and_the_node_can_be_used_again(start_node, client):
    node = start_node()
    bring_up(client)
    stream = next(
        int(child)
        for task in Path(f"/proc/{node.process.pid}/task").iterdir()
        for child in (task / "children").read_text().split()
        if "robot.unitree.command_stream" in Path(f"/proc/{child}/cmdline").read_text()
    )
    os.kill(stream, signal.SIGKILL)
    assert client.until(lambda: "DRIVER" in client.diagnostics["robot"][1], 5.0)
    assert client.transition("deactivate") and client.transition("cleanup")
    bring_up(client)


def test_a_recorded_walk_stands_in_for_a_robot(start_node, client, tmp_path):
    joint_pos = go1.DEFAULT_JOINT_POS + np.linspace(0.0, 0.05, 40)[:, None].astype(np.float32)
    episode = made_episode(40, joint_pos=joint_pos.astype(np.float32))
    start_node(robot="replay", replay_log=write_episode(tmp_path / "walk.hdf5", episode))
    joints = listen(client, JointState, "joint_states")
    bring_up(client, stand=False)
    assert client.until(lambda: len(joints) > 20)
    for _, message in joints:
        difference = np.abs(episode.joint_pos - np.array(message.position, dtype=np.float32)).max(axis=1)
        assert difference.min() < 1e-6
