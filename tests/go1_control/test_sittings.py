"""One node after the other sitting over real DDS: what it answers, and what it makes of what it hears."""

import time

import numpy as np
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from robot.log.episode_log import list_episodes, read_episode


def test_estop_acts_in_every_mode_and_a_person_rearms(shared_node, client):
    shared_node()
    client.bring_up()
    client.trigger("start")
    client.spin(0.3)
    assert client.trigger("estop").success
    assert client.until(lambda: "robot" in client.diagnostics and client.diagnostics["robot"][1].startswith("damped by ESTOP"), 5.0)
    assert not client.trigger("stand").success
    assert client.trigger("rearm").message.startswith("the robot may still be sinking: wait until it lies still")
    assert client.rearm()
    assert not client.trigger("rearm").success
    assert client.trigger("stand").success


def test_requests_while_the_policy_acts_are_refused_at_once_and_not_granted_later(shared_node, client):
    shared_node()
    client.bring_up()
    assert client.trigger("start").success
    began = time.monotonic()
    for name in ("rearm", "stand", "start"):
        answer = client.trigger(name)
        assert not answer.success and answer.message
    assert time.monotonic() - began < 3.0
    assert client.trigger("estop").success
    client.spin(1.0)
    assert client.until(lambda: client.diagnostics["robot"][1].startswith("damped by ESTOP"))


def test_transitions_in_an_odd_order_are_refused_and_the_node_goes_on(shared_node, client):
    shared_node()
    assert not client.transition("activate") and not client.transition("cleanup")
    assert client.transition("configure") and not client.transition("configure")
    assert client.transition("activate") and not client.transition("cleanup")
    assert client.trigger("stand").success
    assert not client.transition("configure")
    assert client.state() == "active" and client.transition("deactivate")
    assert "not active" in client.trigger("rearm").message
    assert client.transition("activate")
    assert client.rearm() and client.trigger("stand").success
    assert client.transition("deactivate") and client.transition("cleanup")
    assert client.transition("configure")  # again, with another robot process


def test_parameters_are_typed_ranged_and_fixed_while_configured(shared_node, client):
    shared_node()
    [wrong] = client.set(power_level=11)
    assert not wrong.successful
    [wrong] = client.set(gait_frequency="fast")
    assert not wrong.successful
    [right] = client.set(session="second")
    assert right.successful
    client.bring_up(stand=False)
    [fixed] = client.set(session="third")
    assert not fixed.successful and "while the node is configured" in fixed.reason
    [gait] = client.set(gait_frequency=2.5)
    assert gait.successful
    [gait] = client.set(gait_frequency=20.0)
    assert not gait.successful


def test_without_cmd_vel_the_robot_is_told_to_stand_on_the_spot(shared_node, client, tmp_path):
    shared_node(record_dir=str(tmp_path / "logs"), cmd_vel_timeout=0.3)
    cmd_vel = client.node.create_publisher(Twist, "cmd_vel", qos_profile_sensor_data)
    client.bring_up()
    client.trigger("start")
    command = Twist()
    command.linear.x = 9.0  # beyond what is allowed
    began = ended = time.monotonic()
    for _ in range(10):
        ended = time.monotonic()
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
    assert (commanded[-1] - commanded[0]) * 0.02 < ended - began + 0.3 + 0.2


def test_foreign_odometry_is_the_velocity_source(shared_node, client, tmp_path):
    shared_node(record_dir=str(tmp_path / "logs"), velocity_source="odometry")
    publisher = client.node.create_publisher(Odometry, "odometry_in", 10)
    client.bring_up()
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


def test_what_is_not_recorded_is_said(shared_node, client, tmp_path):
    shared_node(record_dir=str(tmp_path / "logs"), session="first")
    client.bring_up()
    (tmp_path / "logs" / "first").touch()  # where the directory of this sitting would be
    answer = client.trigger("start")
    assert answer.success and "it is NOT recorded: " in answer.message and "episode_0000.hdf5" in answer.message
    answer = client.trigger("stop")
    assert answer.success and "the log is NOT whole: " in answer.message
    (tmp_path / "logs" / "first").unlink()
    assert "; recorded to " in client.trigger("start").message
    assert "; recorded to " in client.trigger("stop").message


def test_without_a_directory_nothing_is_said_to_be_recorded(shared_node, client):
    shared_node()
    client.bring_up()
    assert client.trigger("start").message.endswith("; nothing is recorded")
    assert client.trigger("stop").message.endswith("; nothing was recorded")


def test_subscribers_with_other_wishes(shared_node, client):
    """What fits every ordinary subscriber, what does not is told on both sides."""
    from go1_control import qos

    shared_node()
    best_effort = client.listen(JointState, "joint_states", qos_profile_sensor_data)
    reliable = client.listen(JointState, "joint_states", QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE))
    mismatches = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    events = qos.SubscriptionEventCallbacks(incompatible_qos=mismatches.append)
    client.node.create_subscription(JointState, "joint_states", lambda _: None, latched, event_callbacks=events)
    client.bring_up(stand=False)
    assert client.until(lambda: len(best_effort) > 20 and len(reliable) > 20)
    assert client.until(lambda: bool(mismatches))
    assert client.until(lambda: "joint_states" in client.diagnostics.get("commands", (0, ""))[1])
