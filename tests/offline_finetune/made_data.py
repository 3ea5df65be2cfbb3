"""Made data: released files and episode logs small enough to work out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.log.episode import Episode, EpisodeAttributes
from robot.observation import GO1_LAYOUT
from robot.policy.metadata import layout_json

LAYER_SIZES = (290, 512, 256, 128, 12)
MISSING = ("action_mean", "log_prob", "accelerometer_b", "foot_force", "velocity_age_s", "stamp_s", "loop_latency_s")

Array = NDArray[Any]
_WALKS = itertools.count()


def standing_states(rows: int) -> Array:
    """States (rows, 76) of a robot that stands still in its default posture, upright, without a command."""
    states = np.zeros((rows, 76))
    states[:, 2] = -1.0
    return states


def tilted(degrees: float) -> Array:
    """Projected gravity of a robot rolled to its side by an angle."""
    return np.array([0.0, -np.sin(np.radians(degrees)), -np.cos(np.radians(degrees))])


def zero_policy(**changes: Array) -> dict[str, Array]:
    """Arrays of a released policy that answers every observation with 0, std 0.5."""
    arrays: dict[str, Array] = {"std": np.full(12, 0.5, dtype=np.float32)}
    for index in range(4):
        arrays[f"layer{index}.weight"] = np.zeros((LAYER_SIZES[index + 1], LAYER_SIZES[index]), dtype=np.float32)
        arrays[f"layer{index}.bias"] = np.zeros(LAYER_SIZES[index + 1], dtype=np.float32)
    return arrays | {name.replace("_", "."): value for name, value in changes.items()}


def made_episode(steps: int, session: str = "s1", fell: bool = False, **columns: Array) -> Episode:
    """An episode whose oldest frame at step t is t + 1 everywhere but in the last action, which is 0 as every action is, and whose reward
    at step t is t / 10,000. No two have the same torque."""
    frames = np.repeat(np.arange(1, steps + 6, dtype=np.float32)[:, None], 58, axis=1)
    frames[:, GO1_LAYOUT.slice_of("last_action")] = 0.0
    seen = np.stack([frames[start : start + steps + 1] for start in range(5)], axis=1)
    last = np.arange(steps) == steps - 1

    def zeros(*shape: int) -> Array:
        return np.zeros((steps, *shape), dtype=np.float32)

    def unknown(*shape: int) -> Array:
        return np.full((steps, *shape), np.nan, dtype=np.float32)

    fields: dict[str, Any] = {
        "observations": seen[:-1], "actions": zeros(12), "action_mean": unknown(12), "log_prob": unknown(),
        "rewards": np.arange(steps, dtype=np.float32) / 10_000, "reward_terms": zeros(7), "terminated": last & fell,
        "truncated": last & (not fell), "final_observation": seen[-1], "joint_pos": zeros(12),
        "joint_vel": np.repeat(np.arange(steps, dtype=np.float32)[:, None], 12, 1) * 1e-9,  # no sensor stands still
        "joint_torque": zeros(12) + next(_WALKS), "quaternion_wxyz": zeros(4), "gyro_b": zeros(3), "accelerometer_b": unknown(3),
        "foot_force": unknown(4), "base_lin_vel_b": zeros(3), "base_ang_vel_b": zeros(3), "velocity_valid": np.ones(steps, dtype=np.bool_),
        "velocity_age_s": unknown(), "command": zeros(15), "joint_pos_target": zeros(12), "stamp_s": np.full(steps, np.nan),
        "loop_latency_s": unknown(), "overrun": np.zeros(steps, dtype=np.bool_), "safety_events": np.zeros(steps, dtype=np.uint32),
    }  # fmt: skip
    attributes = EpisodeAttributes("unitree_go1", "", 0.02, layout_json(GO1_LAYOUT), "{}", session, "made", "fall" if fell else "operator")
    return Episode(attributes, missing=MISSING, **(fields | columns))
