"""The numbers of the data page: commands, achieved speed, actions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline_finetune.behaviour import achieved_speed, behaviour_report
from offline_finetune.dataset import DatasetError

Write = Callable[..., Path]


def test_achieved_speed_is_taken_per_band_of_the_command() -> None:
    commanded = np.array([0.2, 0.3, 0.5, 0.6, -0.4, 1.9, 0.0])
    speed = np.array([9.0, 0.1, 0.3, 0.5, 9.0, 0.7, 9.0])
    assert achieved_speed(commanded, speed) == [
        {"commanded": [0.2, 0.5], "steps": 2, "mean": pytest.approx(0.2), "median": pytest.approx(0.2)},
        {"commanded": [0.5, 1.0], "steps": 1, "mean": 0.5, "median": 0.5},
        {"commanded": [1.5, 2.0], "steps": 1, "mean": 0.7, "median": 0.7},
    ]


def test_the_report_counts_what_was_recorded(write_made: Write) -> None:
    command, velocity = np.zeros((4, 15), dtype=np.float32), np.zeros((4, 3), dtype=np.float32)
    command[:, 0] = [0.0, 0.04, 0.75, 0.75]
    velocity[:, 0] = [0.0, 0.0, 0.5, 5.0]
    actions = np.zeros((4, 12), dtype=np.float32)
    actions[0, 0], actions[1, 0], actions[2] = 3.0, -3.0, 1.5
    valid = np.array([True, True, True, False])
    path = write_made(4, fell=True, command=command, base_lin_vel_b=velocity, actions=actions, velocity_valid=valid)
    report = behaviour_report([path, path])
    assert (report["episodes"], report["steps"], report["falls"]) == (2, 8, 2)
    assert report["velocity_invalid_share"] == pytest.approx(0.25)
    assert report["standing_share"] == pytest.approx(0.5)
    assert report["mean_reward"] == pytest.approx(0.0015)
    assert report["action_beyond_1_share"] == pytest.approx(14 / 48)
    assert report["achieved_speed"] == [{"commanded": [0.5, 1.0], "steps": 2, "mean": 0.5, "median": 0.5}]
    assert dict(zip(report["commanded_vx"]["edges"], report["commanded_vx"]["steps"], strict=False))[0.75] == 4
    assert sum(report["commanded_vx"]["steps"]) == 8


def test_no_logs_no_report() -> None:
    with pytest.raises(DatasetError, match="no episode logs"):
        behaviour_report([])
