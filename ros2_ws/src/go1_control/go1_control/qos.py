"""Quality of service of each topic, and why."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["COMMAND", "DIAGNOSTICS", "STATE", "PublisherEventCallbacks", "SubscriptionEventCallbacks"]

STATE_DEADLINE_S = 0.1  # five control periods
LIVELINESS_LEASE_S = 0.5

# Joint states, IMU, odometry. Reliable, because a publisher that offers more than a subscriber asks for fits every one of them, be it a
# recorder or a display; a fifth of a second is kept, so that one that is held up for a moment loses nothing. A subscriber that asks for a
# deadline of 0.1 s or longer is told when the robot falls silent, one that asks for liveliness when the node has died.
STATE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE,
    deadline=Duration(seconds=STATE_DEADLINE_S), liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=LIVELINESS_LEASE_S),
)  # fmt: skip

# cmd_vel and foreign odometry. Best effort, because that accepts reliable and best-effort publishers alike and an old command is worth
# nothing; no deadline, because joysticks and planners offer none: the node counts the age itself.
COMMAND = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE
)

# Diagnostics and loop statistics, once a second: what every tool expects.
DIAGNOSTICS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
