"""Publishes the robot's state from a thread of its own, so that the control loop makes and sends no message itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode

from robot.control_cycle import Period

CLOSE_TIMEOUT_S = 2.0


class StatePublisher:
    """The newest period goes out; one that was not published before the next came is left out.

    `topics`: what makes a message of a period and its stamp -> the lifecycle publisher that sends it.
    """

    def __init__(self, node: LifecycleNode, topics: Mapping[Callable[..., Any], Any]) -> None:
        self._node, self._topics = node, topics
        self._newest: Period | None = None
        self._news = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def offer(self, period: Period) -> None:
        """For the control thread: returns at once."""
        self._newest = period
        self._news.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._news.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing:
            self._news.wait()
            self._news.clear()
            period = self._newest
            if period is not None and not self._closing:
                self._try_to_publish(period)

    def _try_to_publish(self, period: Period) -> None:
        """A message that the network refuses is left out, and it is said once a second."""
        try:
            self._publish(period)
        except Exception as error:  # whatever it is, the next message may get through
            self._node.get_logger().error(f"not published: {error}", throttle_duration_sec=1.0)

    def _publish(self, period: Period) -> None:
        stamp = self._node.get_clock().now().to_msg()
        for make, topic in self._topics.items():
            topic.publish(make(period, stamp))
