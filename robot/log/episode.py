"""One recorded run of the robot in memory: what an episode log holds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float32Array, Float64Array
from robot.supervisor import SafetyEvent

SCHEMA_VERSION = 1

GAP_PERIODS = 1.5  # rows further apart than this, by their stamps, are not one control period apart

# Why an episode ended. A fall alone terminates: nothing is earned after it. What else stops a robot comes from outside (B on the remote, a
# state that is late, a fault of the driver's), and what it would have gone on to earn is not known: that truncates, as running out of time.
END_FALL = "fall"
END_SAFETY = "safety"  # stopped at once, but upright
END_TIME_LIMIT = "time_limit"
END_OPERATOR = "operator"
END_UNKNOWN = "unknown"  # the process died or the source did not say


def is_simulated(source: str) -> bool:
    """Whether a log with this source, or a station, is of the simulated robot."""
    return source.startswith("twin")


@dataclass(frozen=True)
class EpisodeAttributes:
    """What is true of the whole episode."""

    robot: str
    policy_sha256: str  # of the artifact that acted; "" where unknown
    control_dt_s: float
    layout_json: str  # the observation layout, as in the policy artifact
    config_json: str  # whatever configured the collection
    session: str  # recordings of one sitting share it; held-out splits go by session
    source: str  # "go1", "twin:mattress", "released_uni_o4", ...
    ended: str = END_UNKNOWN
    velocity_source: str = "unknown"  # "t265", "twin", ...
    schema_version: int = SCHEMA_VERSION


@dataclass
class Episode:
    """T control steps. Row t: in this state the policy saw observations[t] and did actions[t]; rewards[t] was measured one step later.

    State, velocity and command of row t are those at the moment of observations[t]. A reward that lacks a measurement has NaN among
    its reward_terms and is too small by at most 0.03: see `reward_measured`.
    A field that the source did not record is NaN-filled (floats) and named in `missing`.
    """

    attributes: EpisodeAttributes
    observations: Float32Array  # (T, 5, 58) as the policy saw them, scaled
    actions: Float32Array  # (T, 12)
    action_mean: Float32Array  # (T, 12)
    log_prob: Float32Array  # (T,)
    rewards: Float32Array  # (T,)
    reward_terms: Float32Array  # (T, 7), columns as robot.reward.WEIGHTS
    terminated: BoolArray  # (T,)
    truncated: BoolArray  # (T,)
    final_observation: Float32Array  # (5, 58) after the last action
    joint_pos: Float32Array  # (T, 12) rad
    joint_vel: Float32Array  # (T, 12) rad/s
    joint_torque: Float32Array  # (T, 12) N m
    quaternion_wxyz: Float32Array  # (T, 4)
    gyro_b: Float32Array  # (T, 3) rad/s
    accelerometer_b: Float32Array  # (T, 3) m/s^2
    foot_force: Float32Array  # (T, 4) N on the twin, raw numbers on a Go1
    base_lin_vel_b: Float32Array  # (T, 3) m/s
    base_ang_vel_b: Float32Array  # (T, 3) rad/s
    velocity_valid: BoolArray  # (T,)
    velocity_age_s: Float32Array  # (T,)
    command: Float32Array  # (T, 15) unscaled
    joint_pos_target: Float32Array  # (T, 12) rad, as handed to the driver, after safety
    stamp_s: Float64Array  # (T,) monotonic
    loop_latency_s: Float32Array  # (T,) from state read to command written
    overrun: BoolArray  # (T,) the tick missed its deadline
    safety_events: NDArray[np.uint32]  # (T,) bit mask of robot.supervisor.SafetyEvent
    missing: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def reward_measured(self) -> BoolArray:
        """Whether (T,) everything in the row's reward was measured; where not, the reward says nothing."""
        return np.asarray(np.isfinite(self.reward_terms).all(axis=1))


UNREADABLE = (
    SafetyEvent.NON_FINITE_STATE | SafetyEvent.BROKEN_QUATERNION | SafetyEvent.JOINT_OUT_OF_RANGE | SafetyEvent.STALE_STATE
)  # events of a state that says nothing about the robot


def without_unreadable_end(episode: Episode) -> Episode:
    """`episode` without the last steps that led to no reading of the robot: nobody must learn from such an observation."""
    kept = len(episode) - _unreadable_steps(episode)
    if kept == len(episode):
        return episode
    rows = {field.name: getattr(episode, field.name)[:kept] for field in fields(episode) if field.name not in _OF_THE_WHOLE}
    ends = rows["truncated"].copy()
    ends[-1:] = True
    return replace(episode, **(rows | {"truncated": ends, "final_observation": episode.observations[kept]}))


def _unreadable_steps(episode: Episode) -> int:
    """How many steps at the end led to no reading of the robot.

    One if the state after it was unusable. If the sensors stood still, which is noticed only after a while (DriverFault.STATE_BROKEN), all
    rows since then: those that equal the row before them, and the row that they are copies of.
    """
    events = int(episode.safety_events[-1])
    if episode.terminated[-1] or not events & (UNREADABLE | SafetyEvent.DRIVER):
        return 0
    sensed = np.concatenate([episode.joint_vel, episode.gyro_b], axis=1)
    moved = np.flatnonzero((sensed[1:] != sensed[:-1]).any(axis=1))
    copies = len(episode) - 2 - int(moved[-1]) if len(moved) else len(episode) - 1
    return copies + 1 if copies else int(events & UNREADABLE != 0)


_OF_THE_WHOLE = ("attributes", "final_observation", "missing")
