"""Many twins that a policy walks side by side: the observation side of the control loop, and the reward."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from robot import go1, safety
from robot.observation import GO1_LAYOUT, ObservationHistory, ObservationLayout, advance_gait, observe
from robot.reward import reward_terms, total_reward
from twin.batch import INITIAL_SPREAD, BatchState, BatchTwin, InitialSpread


class Policy(Protocol):
    """Anything that maps observation histories (N, 290) float32 to action mean (N, 12) and std (12,) or (N, 12)."""

    def act(self, observation_history: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of the Gaussian over actions."""


class Walkers:
    """A batch of twins with the observation side of the control loop: history, gait clock, last action, reward."""

    def __init__(self, twin: BatchTwin, commands: Float64Array, layout: ObservationLayout = GO1_LAYOUT) -> None:
        self.twin = twin
        self.commands = commands  # (N, 15) unscaled
        self.layout = layout
        self.history = ObservationHistory((twin.num_robots,), layout)
        self.gait_index = np.zeros(twin.num_robots)
        self.last_action = np.zeros((twin.num_robots, go1.NUM_JOINTS))
        self.previous_action = self.last_action.copy()  # before the last
        self.state = twin.read()

    def reset(self, where: NDArray[np.bool_], rng: np.random.Generator, spread: InitialSpread = INITIAL_SPREAD) -> None:
        """Start new episodes for the robots selected by the mask (N,)."""
        self.twin.reset(where, rng, spread)
        self.history.reset(where)
        self.gait_index[where] = 0.0
        self.last_action[where] = 0.0
        self.state = self.twin.read()

    def frame(self, where: Any = slice(None)) -> NDArray[np.float32]:
        """What the robots selected by `where` measure now, (n, 58), scaled."""
        state = self.state
        return observe(
            state.gravity_b[where], self.commands[where], state.joint_pos[where], state.joint_vel[where], self.last_action[where],
            self.gait_index[where], self.layout,
        )  # fmt: skip

    def observe(self) -> NDArray[np.float32]:
        """Push the current frames; see `push`."""
        return self.push(self.frame())

    def push(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Append frames (N, 58) to the histories; returns them flattened (N, 290), a view valid until the next call."""
        return self.history.push(frame).reshape(self.twin.num_robots, -1)

    def walk(self, policy: Policy, noise: Float64Array | float = 0.0) -> tuple[BatchState, NDArray[np.floating[Any]]]:
        """One control period of a policy's mean actions plus `noise` (N, 12), clipped; returns the state before and the actions (N, 12)."""
        mean, _std = policy.act(self.observe())
        action = np.clip(mean + noise, -go1.ACTION_CLIP, go1.ACTION_CLIP)
        return self.act(action), action

    def act(self, action: NDArray[np.floating[Any]]) -> BatchState:
        """Apply actions (N, 12) for one control period and advance the gait clock; returns the state before the action."""
        before = self.state
        self.state, _ = self.twin.step(go1.joint_pos_target_of(action))
        self.gait_index[:] = advance_gait(self.gait_index, self.commands)
        self.previous_action, self.last_action = self.last_action, action.astype(np.float64)
        return before

    def fallen(self) -> NDArray[np.bool_]:
        """Which robots (N,) lie tilted beyond 60 degrees or have left what the physics can compute."""
        return np.asarray(safety.has_fallen(self.state.gravity_b) | self.twin.diverged)

    def reward(self, before: BatchState, action: NDArray[np.floating[Any]]) -> Float64Array:
        """Table 3's reward (N,) of the last step, from `before` by `action`."""
        now = self.state
        joint_acc = (now.joint_vel - before.joint_vel) / go1.CONTROL_DT
        terms = reward_terms(
            now.base_lin_vel_b, now.base_ang_vel_b, self.commands, now.joint_torque, now.joint_vel, joint_acc, action, self.previous_action
        )
        return np.asarray(total_reward(terms), dtype=np.float64)
