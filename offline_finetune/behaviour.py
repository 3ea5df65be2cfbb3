"""What the robot did in a set of episode logs, in the numbers that a simulated floor has to reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_finetune.dataset import DatasetError
from robot.episode_log import read_episode

FloatArray = NDArray[np.floating[Any]]

COMMAND_EDGES = tuple(round(edge / 4, 2) for edge in range(-8, 9))  # m/s
SPEED_BANDS = ((0.2, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.0))  # m/s, lower edge excluded
STANDING_COMMAND = 0.05  # m/s; a joystick at rest gives less


def behaviour_report(episode_paths: Sequence[Path]) -> dict[str, Any]:
    """Counts, commands, achieved speed and actions of the episode logs, ready for JSON; DatasetError if there are none.

    `achieved_speed` takes each band of commanded vx with the body-frame vx of the same rows, where the velocity is valid; bands
    without a row are left out.
    """
    if not episode_paths:
        raise DatasetError("no episode logs to report on")
    episodes = [read_episode(path) for path in episode_paths]
    commanded = np.concatenate([episode.command[:, 0] for episode in episodes])
    speed = np.concatenate([episode.base_lin_vel_b[:, 0] for episode in episodes])
    valid = np.concatenate([episode.velocity_valid for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    histogram, _ = np.histogram(np.clip(commanded, COMMAND_EDGES[0], COMMAND_EDGES[-1]), COMMAND_EDGES)
    return {
        "episodes": len(episodes),
        "steps": len(commanded),
        "falls": sum(int(episode.terminated[-1]) for episode in episodes),
        "velocity_invalid_share": float(1 - valid.mean()),
        "mean_reward": float(np.concatenate([episode.rewards for episode in episodes]).mean()),
        "commanded_vx": {"edges": list(COMMAND_EDGES), "steps": histogram.tolist()},
        "standing_share": float((np.abs(commanded) < STANDING_COMMAND).mean()),
        "achieved_speed": achieved_speed(commanded[valid], speed[valid]),
        "action_std": [float(actions.std(axis=0).min()), float(actions.std(axis=0).max())],
        "action_beyond_1_share": float((np.abs(actions) > 1).mean()),
    }


def achieved_speed(commanded_vx: FloatArray, body_vx: FloatArray) -> list[dict[str, Any]]:
    """Mean and median body vx, m/s, of the rows of each band of commanded forward vx, both (N,)."""
    rows = []
    for low, high in SPEED_BANDS:
        speeds = body_vx[(commanded_vx > low) & (commanded_vx <= high)]
        if len(speeds):
            mean, median = float(speeds.mean()), float(np.median(speeds))
            rows.append({"commanded": [low, high], "steps": len(speeds), "mean": mean, "median": median})
    return rows
