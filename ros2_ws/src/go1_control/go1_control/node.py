"""The lifecycle node `go1_control`.

configure   reads the parameters, loads and checks the policy, connects the robot; its motors come to rest
activate    permits torque: ~/stand, ~/start, ~/stop, ~/rearm answer; topics are published
deactivate  damps the robot
an error    damps the robot and lets go of it; so do an exception, Ctrl-C and the end of the process

The control loop is robot/session.py's, in a thread of its own; nothing here is on its way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # Humble has it only here
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from common.errors import QuadloopError
from common.realtime import prepare_control_process, spare_the_garbage_collector
from go1_control import messages, parameters, qos
from go1_control.health import health, not_configured
from go1_control.publisher import StatePublisher
from go1_control.recording import EpisodeRecording
from robot.control_cycle import Period
from robot.log.attributes import attributes_of
from robot.log.directory import try_to_record
from robot.log.episode import EpisodeAttributes
from robot.log.recorder import Recorder
from robot.loop_statistics import LoopStatistics
from robot.policy.artifact import PolicyArtifact, load_artifact
from robot.run_episode import LONGEST_S, LONGEST_STEPS, EpisodePlan, EpisodeSummary
from robot.session import Session
from robot.stick import Stick
from robot.supervisor import Mode, event_names
from twin.robots import OpenRobot, open_robot

START_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 5.0
DIAGNOSTICS_EVERY_S = 1.0
EXECUTOR_THREADS = 5  # one for each group of callbacks
SPIN_TIMEOUT_S = 0.1
POLL_S = 0.005
# rclpy holds Python's lock while it publishes: a network that blocks would stop the control loop. Fast DDS can send from a thread of its
# own instead; another middleware does not know this variable. docs/architecture.md says what is left.
PUBLICATION_MODE = ("RMW_FASTRTPS_PUBLICATION_MODE", "ASYNCHRONOUS")
SUCCESS, FAILURE, ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.ERROR


class ControlNode(LifecycleNode):
    """See the module. `close` damps the robot and lets go of it, in any state."""

    def __init__(self, **options: Any) -> None:
        super().__init__("go1_control", **options)
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._active = False
        self._session: Session | None = None
        self._recorder: Recorder | None = None
        self._robot: OpenRobot | None = None
        self._stick: Stick | None = None
        self._episode: Future[EpisodeSummary] | None = None
        self._recording: EpisodeRecording | None = None  # of that episode
        self._stop_wanted = threading.Event()  # since the newest ~/start
        self._starting = False  # whether that is being answered
        self._told: Future[EpisodeSummary] | None = None  # the newest episode whose end was logged
        self._statistics: LoopStatistics | None = None
        self._closing = ExitStack()
        self._mismatches: dict[str, str] = {}
        self.refusal = ""  # why the node could not be configured
        self._make_publishers()
        self._make_services()
        self._failed = self.create_guard_condition(self._on_failure)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Everything that can be refused is refused here, by name."""
        self.refusal = ""
        try:
            self._settings = parameters.settings(self)
            self._policy = load_artifact(self._settings.policy)
            self._connect(self._policy)
        except Exception as error:  # whatever it is, the reason is told and nothing stays open
            self.refusal = " ".join(str(error).split())
            self.get_logger().error(f"not configured: {self.refusal}")
            self._release()
            return FAILURE
        robot = self._robot
        known = f"policy {self._policy.sha256[:12]}, seed {self._settings.seed}"
        self.get_logger().info(f"connected to {robot.source if robot else '?'}; {known}")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Permit torque; an error if the control loop has died meanwhile."""
        session = self._session
        if session is None or not session.thread.running:
            return ERROR
        session.permit()
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp; an error if the control loop has died."""
        self._active = False
        session = self._session
        if session is not None:
            session.forbid()
        super().on_deactivate(state)
        return ERROR if session is not None and session.thread.error is not None else SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the robot."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp, let go."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp, let go; the node can be configured again."""
        self._release()
        return SUCCESS

    def close(self) -> None:
        """Damp the robot and let go of it."""
        self._release()

    # Services

    def _stand(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, lambda session: _done(session.stand(), "standing"))

    def _start(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stop_wanted.clear()
        self._starting = True
        try:
            return self._answer(response, self._begin_episode)
        finally:
            self._starting = False

    def _stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._end_episode)

    def _rearm(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, lambda session: _done(session.rearm(), "armed again; the motors have no torque"))

    def _estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """In every state of the node."""
        session = self._session  # looked at once, as every field in the callbacks below: another thread may take it away meanwhile
        if session is not None:
            session.estop()
        response.success, response.message = True, "damping" if session is not None else "no robot is connected"
        return response

    def _answer(self, response: Trigger.Response, act: Callable[[Session], str]) -> Trigger.Response:
        """Do `act` with the session, if the node is active; what is refused is told in one line."""
        session = self._session
        if not self._active or session is None:
            response.success, response.message = False, "the node is not active; activate it first"
            return response
        try:
            response.success, response.message = True, act(session)
        except Exception as error:
            text = " ".join(str(error).split()) or f"no answer in time ({type(error).__name__})"
            response.success, response.message = False, text
        return response

    def _begin_episode(self, session: Session) -> str:
        """Returns once the policy acts; what is in its way is raised. How the episode ends is logged with the next diagnostics."""
        stick = self._stick
        if session.mode is not Mode.READY or stick is None:
            cause = event_names(session.loop.supervisor.cause)
            raise QuadloopError(f"'start' is possible from ready; the robot is {session.mode.value} {cause}".strip())
        recording = EpisodeRecording(self._recorder, self._next_path())
        plan = EpisodePlan(LONGEST_STEPS, lambda _step: stick.command(time.monotonic()), self._stop_wanted.is_set)
        episode = session.walk(plan, recording.path)
        self._recording, self._episode = recording, episode  # in this order: ~/stop looks at the episode first
        end_s = time.monotonic() + START_TIMEOUT_S
        while session.loop.last_tick.mode is not Mode.POLICY and not episode.done() and time.monotonic() < end_s:
            time.sleep(POLL_S)
        if episode.done():
            raise QuadloopError(_end_of(episode))
        if session.loop.last_tick.mode is not Mode.POLICY:
            self._stop_wanted.set()
            raise QuadloopError(f"the policy did not begin to act within {START_TIMEOUT_S:g} s; the episode was ended")
        return f"the policy acts, for {LONGEST_S / 60:g} minutes at most; {recording.begun()}"

    def _end_episode(self, session: Session) -> str:
        """Returns once the robot stands and its log is on disk, or it is known what is wrong with either."""
        self._stop_wanted.set()  # before anything else: ~/start does not wait for us, and may just be about to begin
        episode, recording = self._episode, self._recording
        if episode is None or recording is None or episode.done():
            if self._starting:
                return "the walk that was about to begin ends at once"
            raise QuadloopError(f"nothing to stop: the robot is {session.mode.value}")
        walked = episode.exception(STOP_TIMEOUT_S) is None and episode.result().steps > 0
        return f"{_end_of(episode)}; {recording.finished()}" if walked else _end_of(episode)

    # Topics

    def _on_cmd_vel(self, message: Twist) -> None:
        stick = self._stick
        if stick is not None:
            stick.receive(message.linear.x, message.linear.y, message.angular.z)

    def _on_odometry(self, message: Odometry) -> None:
        robot = self._robot
        if robot is None or robot.odometry is None:
            return
        place, turned = message.pose.pose.position, message.pose.pose.orientation
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        robot.odometry.receive(
            time.monotonic(), [place.x, place.y, place.z], [turned.w, turned.x, turned.y, turned.z],
            [linear.x, linear.y, linear.z], [angular.x, angular.y, angular.z],
        )  # fmt: skip

    def _tell_health(self) -> None:
        self._tell_end()
        session, statistics, stick, recorder = self._session, self._statistics, self._stick, self._recorder
        if session is None or statistics is None or stick is None:
            parts = not_configured(self.refusal)
        else:
            parts = health(session, statistics, recorder.status if recorder is not None else None, stick, self._mismatches)
            self._loop_statistics.publish(messages.statistics(statistics.summary()))  # a lifecycle topic: only of an active node
        self._diagnostics.publish(messages.diagnostics(self.get_clock().now().to_msg(), parts))

    def _tell_end(self) -> None:
        """Log how an episode ended, once; not from the control thread, which does not wait for a log."""
        episode = self._episode
        if episode is not None and episode.done() and episode is not self._told:
            self._told = episode
            self.get_logger().info(f"episode: {_end_of(episode)}")

    def _on_parameters(self, changed: list[Parameter[Any]]) -> SetParametersResult:
        """The gait may change while the robot walks, everything else only before the node is configured."""
        fixed = next((each.name for each in changed if each.name in parameters.FIXED), None)
        if fixed is not None and self._session is not None:
            return SetParametersResult(successful=False, reason=f"{fixed} cannot change while the node is configured; clean it up first")
        changes = {each.name: each.value for each in changed if each.name in parameters.GAIT}
        stick = self._stick
        if changes and stick is not None:
            try:
                stick.gait = parameters.gait(self, **changes)
            except QuadloopError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_failure(self) -> None:
        """The control loop has ended by itself; the robot is damped."""
        session = self._session
        error = session.thread.error if session is not None else None
        self.get_logger().error(f"the control loop ended, the robot is damped: {error}")
        if self._active:
            self.trigger_deactivate()
        elif session is not None:
            self.trigger_cleanup()

    # Parts

    def _connect(self, policy: PolicyArtifact) -> None:
        wanted = self._settings
        if wanted.record_dir:
            try_to_record(Path(wanted.record_dir), "record_dir")
        self._robot = robot = open_robot(wanted.robot, self._closing)
        self._stick = Stick(wanted.limits, wanted.gait, wanted.cmd_vel_timeout)
        if wanted.record_dir:
            self._recorder = self._closing.enter_context(Recorder())
        rng = np.random.default_rng(wanted.seed) if wanted.explore else None
        publisher = StatePublisher(self, self._states)
        self._closing.callback(publisher.close)

        def observe(period: Period) -> None:
            statistics = self._statistics
            if statistics is not None:
                statistics.observe(period)
            publisher.offer(period)

        self._session = session = Session(
            robot.driver, robot.velocity, policy, rng, self._recorder, self._attributes(policy, robot),
            observe=observe, on_failure=lambda _error: self._failed.trigger(),
        )  # fmt: skip
        session.forbid()  # until the node is active
        self._statistics = LoopStatistics(session.pace)
        self._closing.callback(session.close)
        spare_the_garbage_collector()
        session.connect()

    def _attributes(self, policy: PolicyArtifact, robot: OpenRobot) -> EpisodeAttributes:
        wanted = self._settings
        self._sitting = wanted.session or time.strftime("%Y%m%d-%H%M%S")
        config = {"notes": wanted.notes, "explore": wanted.explore, "seed": wanted.seed}
        return attributes_of(policy, robot.source, robot.velocity, self._sitting, config)

    def _next_path(self) -> Path | None:
        if not self._settings.record_dir:
            return None
        directory = Path(self._settings.record_dir) / self._sitting
        taken = {path.name.split(".")[0] for path in directory.glob("episode_*")}
        number = next(number for number in range(len(taken) + 1) if f"episode_{number:04d}" not in taken)
        return directory / f"episode_{number:04d}.hdf5"

    def _release(self) -> None:
        """Damp, disconnect, forget. Idempotent."""
        self._active = False
        try:
            self._closing.close()
        finally:
            self._session = self._recorder = self._robot = self._stick = self._episode = self._recording = self._statistics = None
            self._mismatches.clear()

    def _make_publishers(self) -> None:
        def state(kind: type, topic: str) -> Any:
            events = qos.PublisherEventCallbacks(incompatible_qos=partial(self._note_mismatch, topic))
            return self.create_lifecycle_publisher(kind, topic, qos.STATE, event_callbacks=events)

        self._states = {
            messages.joint_state: state(JointState, "joint_states"),
            messages.imu: state(Imu, "imu"),
            messages.odometry: state(Odometry, "odom"),
        }
        self._loop_statistics = self.create_lifecycle_publisher(Float64MultiArray, "~/loop_statistics", qos.DIAGNOSTICS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)  # also of a node that is not active
        self.create_timer(DIAGNOSTICS_EVERY_S, self._tell_health, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _make_services(self) -> None:
        requests = MutuallyExclusiveCallbackGroup()
        for name, serve in (("stand", self._stand), ("start", self._start), ("rearm", self._rearm)):
            self.create_service(Trigger, f"~/{name}", serve, callback_group=requests)
        for name, serve in (("stop", self._stop), ("estop", self._estop)):  # neither waits for a request, nor the second for the first
            self.create_service(Trigger, f"~/{name}", serve, callback_group=MutuallyExclusiveCallbackGroup())
        commands = MutuallyExclusiveCallbackGroup()
        for kind, topic, take in ((Twist, "cmd_vel", self._on_cmd_vel), (Odometry, "odometry_in", self._on_odometry)):
            callbacks = qos.SubscriptionEventCallbacks(incompatible_qos=partial(self._note_mismatch, topic))
            self.create_subscription(kind, topic, take, qos.COMMAND, callback_group=commands, event_callbacks=callbacks)

    def _note_mismatch(self, topic: str, info: Any) -> None:
        """Somebody wants a quality of service that this topic does not have: nothing arrives there, so it is said."""
        policy = str(getattr(info, "last_policy_kind", "unknown"))
        self._mismatches[topic] = policy
        self.get_logger().warning(f"{topic}: another node asks for a quality of service that does not fit ({policy}); it gets nothing")


def _done(request: Future[None], what: str) -> str:
    """`what`, once the request is granted; what was in its way is raised."""
    request.result(STOP_TIMEOUT_S)
    return what


def _end_of(episode: Future[EpisodeSummary]) -> str:
    """How an episode that is over ended, in one line."""
    error = episode.exception()
    if error is not None:
        return f"ended by an exception: {' '.join(str(error).split())}"
    return episode.result().line


def main(arguments: list[str] | None = None) -> int:
    """Spin until a signal; the robot is damped whatever ends it."""
    prepare_control_process()  # before ROS starts its threads
    os.environ.setdefault(*PUBLICATION_MODE)  # before ROS looks
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)  # ROS's own would take the network away first
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: asked.append(number))
    try:
        node = ControlNode()
    except Exception as error:  # a parameter of another type or outside its range
        print(f"go1_control: {' '.join(str(error).split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    try:
        while not asked:
            _spin(executor, node)
    finally:
        node.close()
        executor.shutdown(timeout_sec=STOP_TIMEOUT_S)
        node.close()  # of what a callback opened meanwhile
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _spin(executor: MultiThreadedExecutor, node: ControlNode) -> None:
    """One callback. A transition that the present state does not have is an exception in ROS 2 Humble and Jazzy, and no reason to end."""
    try:
        executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
    except rclpy_implementation.RCLError as error:
        node.get_logger().error(f"refused: {' '.join(str(error).split())}")


if __name__ == "__main__":
    sys.exit(main())
