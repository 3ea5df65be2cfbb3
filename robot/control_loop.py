"""One control period of the robot: state in, command out. Pure: no input or output, and the clock is passed in.

In POLICY: observe with the present gait index, advance it, let the policy act on the history, turn the action into joint targets;
the supervisor decides what of it reaches the motors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float32Array, Float64Array
from common.errors import QuadloopError
from robot import go1
from robot.command import COMMAND_SIZE, MAX_COMMAND, trot_command
from robot.driver import JointCommand, RobotState
from robot.observation import ObservationHistory, ObservationLayout, advance_gait, observe
from robot.supervisor import Mode, ModeError, SafetyEvent, Supervisor

STAND_TIME_S = 1.5  # from lying to standing at about 1 rad/s in the joint that has furthest to go
# rad that a joint of a robot that stands may be from the default posture. Those that were recorded sag by 0.5 to 0.6, once by 0.67, in
# their rear calves, the twin on its mattress by 0.33; the calves of one that lies with its legs folded are off by 1.1.
MAX_SAG = 0.9


class CommandError(QuadloopError):
    """A command that is not 15 numbers of a plausible size."""


class PolicyContract(Protocol):
    """What the loop needs of an artifact's metadata (robot.policy.metadata.ArtifactMetadata)."""

    @property
    def kp(self) -> float:
        """N m / rad."""

    @property
    def kd(self) -> float:
        """N m s / rad."""

    @property
    def layout(self) -> ObservationLayout:
        """What one frame holds and how many frames the policy sees."""


class Policy(Protocol):
    """Something that acts (robot.policy.artifact.PolicyArtifact)."""

    @property
    def metadata(self) -> PolicyContract:
        """Gains and observation layout."""

    def act(self, observation_history: Float32Array, /) -> tuple[Float32Array, Float32Array]:
        """Mean and std (12,) of the action's Gaussian for a history (5, 58), oldest frame first."""


class Act(NamedTuple):
    """What the policy saw and did in one control period; the action is zero where it had no say."""

    observation: Float32Array  # (5, 58)
    action: Float32Array  # (12,) clipped to +-10
    action_mean: Float32Array  # (12,)
    action_std: Float32Array  # (12,)

    @property
    def log_prob(self) -> float:
        """Of `action` under the policy's Gaussian, nats. Worked out when it is asked for: the command need not wait for it."""
        return gaussian_log_prob(self.action, self.action_mean, self.action_std)


class Tick(NamedTuple):
    """What happened in one control period."""

    mode: Mode
    events: SafetyEvent
    joint_pos_target: Float64Array  # (12,) rad, after the supervisor
    act: Act  # in POLICY; in the period that ends it only the observation; zeros otherwise


_NO_ACTION = np.zeros(go1.NUM_JOINTS, dtype=np.float32)
_ANY_STD = np.ones(go1.NUM_JOINTS, dtype=np.float32)  # of an action that nobody took
_NO_TARGET = np.full(go1.NUM_JOINTS, np.nan)  # the supervisor refuses it
_UNUSABLE_STATE = SafetyEvent.NON_FINITE_STATE | SafetyEvent.BROKEN_QUATERNION | SafetyEvent.JOINT_OUT_OF_RANGE


class ControlLoop:
    """Stands the robot up, lets a policy act, and stops, on request. `rng` draws the actions; None acts with the mean.

    The methods belong to one thread, except `request_estop`, which any thread may call. `last_tick` tells what the last step did.
    """

    def __init__(self, policy: Policy, supervisor: Supervisor, rng: np.random.Generator | None = None) -> None:
        self.supervisor = supervisor
        self._rng = rng
        self._command = trot_command()
        self._requested: Mode
        self.last_tick: Tick
        self.use(policy)

    def use(self, policy: Policy) -> None:
        """Act with another policy from the next start on.

        ModeError while a policy acts or the robot stands up, or if the policy's gains differ from the supervisor's.
        """
        gains = policy.metadata.kp, policy.metadata.kd
        if self.mode in (Mode.STAND, Mode.POLICY):
            raise ModeError(f"the policy cannot be changed while the robot is in '{self.mode.value}'; stop first, or wait until it stands")
        if gains != (self.supervisor.kp, self.supervisor.kd):
            known = self.supervisor.kp, self.supervisor.kd
            raise ModeError(f"the policy has gains {gains}, the supervisor {known}; make a new supervisor")
        self.policy = policy
        self._history = ObservationHistory(layout=policy.metadata.layout)
        self._begin()

    @property
    def mode(self) -> Mode:
        """The supervisor's mode."""
        return self.supervisor.mode

    @property
    def command(self) -> Float64Array:
        """The unscaled command (15,), see robot.command.Slot. Setting raises CommandError beyond +-MAX_COMMAND."""
        return self._command

    @command.setter
    def command(self, command: NDArray[np.floating[Any]]) -> None:
        values = np.array(command, dtype=np.float64)
        if values.shape != (COMMAND_SIZE,) or not (np.abs(values) <= MAX_COMMAND).all():
            raise CommandError(f"the command must be {COMMAND_SIZE} numbers within +-{MAX_COMMAND:g}; it was {values.tolist()}")
        self._command = values

    def request_stand(self) -> None:
        """Move to the default posture within STAND_TIME_S and hold it: READY once no joint is off by more than MAX_SAG.

        ModeError unless PASSIVE or READY.
        """
        self._request(Mode.STAND, Mode.PASSIVE, Mode.READY)

    def request_start(self) -> None:
        """Let the policy act from the next step on, with an empty history. ModeError unless READY."""
        self._request(Mode.POLICY, Mode.READY)

    def request_stop(self) -> None:
        """Take the robot from the policy and stand it still, then READY; where no policy acts, withdraw what was requested."""
        self._requested = Mode.STAND if self.mode is Mode.POLICY else self.mode

    def request_estop(self) -> None:
        """Damp the robot from the next step on, whatever it does."""
        self.supervisor.trip(SafetyEvent.ESTOP)

    def rearm(self) -> None:
        """Leave DAMPING for PASSIVE, by a person's hand only; ModeError if it is not damping."""
        self.supervisor.rearm()
        self._begin()

    def fail(self, state: RobotState | None) -> JointCommand:
        """For a caller whose program failed: latch DAMPING and give the command to send."""
        self.supervisor.trip(SafetyEvent.FAULT)
        return self.supervisor.damping_command(state)

    def step(self, state: RobotState, now: float) -> JointCommand:
        """The command for this period, from the newest state and the time `now`, s, by the clock of state.stamp_s."""
        if self.mode is Mode.STAND and now - self._stand_start_s >= STAND_TIME_S and furthest_joint(state.joint_pos)[1] <= MAX_SAG:
            self._requested = Mode.READY
        self._act: Act | None = None
        decision = self.supervisor.decide(state, now, self._requested, lambda mode: self._propose(mode, state, now))
        if self._act is None and self.last_tick.mode is Mode.POLICY:
            self._act = Act(self._last_observation(state, decision.events), _NO_ACTION, _NO_ACTION, _ANY_STD)
        self.last_tick = Tick(decision.mode, decision.events, decision.command.joint_pos_target, self._act or self._no_act)
        self._requested = decision.mode
        return decision.command

    def _request(self, mode: Mode, *allowed: Mode) -> None:
        if self.mode not in allowed:
            raise ModeError(f"'{mode.value}' is possible from {' or '.join(m.value for m in allowed)}; the robot is {self.mode.value}")
        self._requested = mode

    def _begin(self) -> None:
        """As before the first step, in the supervisor's mode."""
        self._requested = self.mode
        self._stand_start_s, self._stand_from = math.inf, go1.DEFAULT_JOINT_POS
        self._no_act = Act(np.zeros_like(self._history.frames), _NO_ACTION, _NO_ACTION, _ANY_STD)
        self.last_tick = Tick(self.mode, SafetyEvent(0), go1.DEFAULT_JOINT_POS, self._no_act)
        self._forget()

    def _forget(self) -> None:
        """An episode begins: no history, no last action, the gait at its start."""
        self._history.reset()
        self._last_action: Float32Array = _NO_ACTION
        self._gait_index: NDArray[np.floating[Any]] = np.zeros(())

    def _propose(self, mode: Mode, state: RobotState, now: float) -> Float64Array:
        """Joint targets (12,) for a mode that the supervisor admitted."""
        entering = mode is not self.last_tick.mode
        if mode is Mode.POLICY:
            if entering:
                self._forget()
            return self._acting(state)
        if mode is Mode.STAND:
            if entering:
                self._stand_start_s, self._stand_from = now, state.joint_pos
            share = min((now - self._stand_start_s) / STAND_TIME_S, 1.0)
            return self._stand_from + share * (go1.DEFAULT_JOINT_POS - self._stand_from)
        return go1.DEFAULT_JOINT_POS

    def _acting(self, state: RobotState) -> Float64Array:
        observation = self._observe(state)
        self._gait_index = advance_gait(self._gait_index, self._command)
        mean, std = self.policy.act(observation)
        raw = mean if self._rng is None else mean + std * self._rng.standard_normal(go1.NUM_JOINTS)
        if not (all(map(math.isfinite, raw.tolist())) and all(0.0 < s < math.inf for s in std.tolist())):
            self._act = Act(observation, _NO_ACTION, _NO_ACTION, _ANY_STD)  # before the clip: it makes an infinite action look sound
            return _NO_TARGET
        self._last_action = np.minimum(np.maximum(raw, -go1.ACTION_CLIP), go1.ACTION_CLIP).astype(np.float32)
        self._act = Act(observation, self._last_action, mean, std)
        return go1.joint_pos_target_of(self._last_action)

    def _observe(self, state: RobotState) -> Float32Array:
        frame = observe(
            state.gravity_b, self._command, state.joint_pos, state.joint_vel,
            self._last_action, self._gait_index, self.policy.metadata.layout,
        )  # fmt: skip
        return self._history.push(frame).copy()

    def _last_observation(self, state: RobotState, events: SafetyEvent) -> Float32Array:
        """What the policy would see now, or what it saw last where the state is none of a Go1: float32 may not hold it."""
        return self._history.frames.copy() if events & _UNUSABLE_STATE else self._observe(state)


def furthest_joint(joint_pos: Float64Array) -> tuple[str, float]:
    """The joint of joint_pos (12,) rad that is furthest from the default posture, and how far, rad."""
    off = np.abs(joint_pos - go1.DEFAULT_JOINT_POS)
    joint = int(np.argmax(off))
    return go1.JOINT_NAMES[joint], float(off[joint])


def gaussian_log_prob(action: Float32Array, mean: Float32Array, std: Float32Array) -> float:
    """log N(action | mean, diag(std^2)) in nats, summed over the last axis in float64; all (n,).

    -1/2 sum((a - mean)^2 / std^2) - sum(log std) - n/2 log(2 pi)
    """
    deviation = (action.astype(np.float64) - mean) / std
    log_std = np.log(std, dtype=np.float64)
    return float(-0.5 * (deviation @ deviation) - log_std.sum() - 0.5 * len(action) * math.log(2 * math.pi))
