"""What an episode says about itself, from episodes whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_finetune.inspection import (
    driver_of,
    inspect_episode,
    legs_differ,
    remarks,
    speed_by_command,
    summarise,
    timing,
    velocity_drifts,
)
from offline_finetune.readable_log import read_log
from offline_finetune.released.policies import import_policy
from robot import go1
from robot.log.episode import Episode
from robot.supervisor import SafetyEvent
from tests.offline_finetune.made_data import made_episode


class Swaying:
    """A policy whose mean sways slowly with the observation, which counts the steps."""

    def __init__(self, amplitude: float, std: float = 0.5) -> None:
        self.amplitude, self.std = amplitude, std

    def act(self, observation_history: Any) -> tuple[Any, Any]:
        mean = self.amplitude * np.sin(0.1 * observation_history[:, -1, :12])
        return mean, np.full(12, self.std)


def driven_by(policy: Swaying, noise: float, steps: int = 500) -> Episode:
    episode = made_episode(steps)
    actions = policy.act(episode.observations)[0] + noise * np.random.default_rng(0).standard_normal((steps, 12))
    return replace(episode, actions=actions.astype(np.float32))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_policy_that_drove_is_found_with_and_without_its_noise(noise: float) -> None:
    policies = {"it": Swaying(1.0), "another": Swaying(0.7)}
    found = inspect_episode(driven_by(policies["it"], noise), policies)
    assert driver_of(found) == "it"
    assert found["likelihood"]["it"]["error"] == pytest.approx(noise, rel=0.02)
    assert not found["likelihood"]["another"]["drove"]


def test_a_policy_that_is_near_but_did_not_drive_is_not_named() -> None:
    found = inspect_episode(driven_by(Swaying(1.0), 0.5), {"near": Swaying(0.7)})
    fit = found["likelihood"]["near"]
    assert driver_of(found) is None
    assert fit["distance"] < 1.5  # its size alone would not tell
    assert fit["correlation"] > 0.1


def test_log_prob_is_that_of_a_gaussian() -> None:
    fit = inspect_episode(driven_by(Swaying(1.0), 0.0), {"it": Swaying(1.0, std=0.5)})["likelihood"]["it"]
    assert fit["log_prob"] == pytest.approx(12 * (-0.5 * np.log(2 * np.pi) - np.log(0.5)))


def test_rows_without_history_say_nothing_about_who_drove() -> None:
    episode = driven_by(Swaying(1.0), 0.0, steps=20)
    episode.observations[0] = 0.0
    episode.actions[0] = 9.0
    assert driver_of(inspect_episode(episode, {"it": Swaying(1.0)})) == "it"
    episode.observations[:] = 0.0
    assert inspect_episode(episode, {"it": Swaying(1.0)})["likelihood"]["it"]["error"] is None


def test_absurd_numbers_say_nothing_and_break_nothing() -> None:
    episode = driven_by(Swaying(1.0), 0.0, steps=20)
    episode.observations[3:] = 3e38
    episode.actions[3:] = np.nan
    episode.stamp_s = np.where(np.arange(20) % 2, 1e308, -1e308)
    found = inspect_episode(episode, {"it": Swaying(1.0)})
    assert found["timing"] is None
    assert driver_of(found) == "it"


def test_dropped_periods_are_counted_from_the_stamps() -> None:
    stamps = 0.02 * np.array([0, 1, 2, 5, 6.2])  # two are missing, one row is late
    found = timing(made_episode(5, stamp_s=stamps, loop_latency_s=np.full(5, 0.003, dtype=np.float32)))
    assert found is not None
    assert (found["dropped"], found["overruns"]) == (2, 0)
    assert found["period_ms"]["largest"] == pytest.approx(60)
    assert found["latency_ms"]["p99"] == pytest.approx(3)


def test_what_was_not_recorded_is_none() -> None:
    found = inspect_episode(made_episode(3, velocity_valid=np.zeros(3, dtype=np.bool_)), {})
    assert found["timing"] is None
    assert found["speed_error"] is None
    assert found["policy_sha256"] is None
    assert "stamp_s" in found["missing"]


def test_speeds_are_averaged_over_usable_rows_of_each_command() -> None:
    command, velocity = np.zeros((4, 15), dtype=np.float32), np.zeros((4, 3), dtype=np.float32)
    command[:, 0] = [0.3, 0.4, 0.4, 2.0]
    velocity[:, 0] = [0.1, 0.3, 9.0, 1.0]
    episode = made_episode(4, command=command, base_lin_vel_b=velocity, velocity_valid=np.array([True, True, False, True]))
    bins = {tuple(each["commanded"]): (each["rows"], each["command"], each["speed"]) for each in speed_by_command(episode)}
    assert bins[0.2, 0.5] == (2, pytest.approx(0.35), pytest.approx(0.2))
    assert bins[0.5, 1.0] == (0, None, None)
    assert bins[1.5, 2.0] == (1, pytest.approx(2.0), pytest.approx(1.0))


def test_the_logged_velocity_is_compared_with_that_of_the_legs() -> None:
    velocity = np.zeros((40, 3), dtype=np.float32)
    velocity[:, 0] = 0.3  # but no joint moves
    posture = np.tile(go1.DEFAULT_JOINT_POS, (40, 1)).astype(np.float32)
    episode = made_episode(40, base_lin_vel_b=velocity, joint_pos=posture)
    assert legs_differ(episode) == (pytest.approx(0.3, abs=1e-6), 40)
    assert legs_differ(replace(episode, velocity_valid=np.zeros(40, dtype=np.bool_))) == (None, 0)


def test_a_velocity_that_slides_off_is_a_drift_though_no_sample_is_a_glitch() -> None:
    velocity = np.zeros((400, 3), dtype=np.float32)
    posture = np.tile(go1.DEFAULT_JOINT_POS, (400, 1)).astype(np.float32)
    assert velocity_drifts(made_episode(400, base_lin_vel_b=velocity, joint_pos=posture)) == 0
    velocity[200:, 1] = 0.8  # from the fifth second on, and no joint moves
    episode = made_episode(400, base_lin_vel_b=velocity, joint_pos=posture)
    # The mean over 100 rows passes 0.5 where 63 of them are in the second half: 301 windows, of which those from row 163 on.
    assert velocity_drifts(episode) == pytest.approx(138 / 301, abs=0.01)
    assert any("drifts" in line for line in remarks([inspect_episode(episode, {})]))
    assert velocity_drifts(replace(episode, velocity_valid=np.zeros(400, dtype=np.bool_))) is None


def test_safety_events_are_named() -> None:
    events = np.array([0, SafetyEvent.TILT, SafetyEvent.TILT | SafetyEvent.SLEW_LIMIT], dtype=np.uint32)
    assert inspect_episode(made_episode(3, safety_events=events), {})["safety"] == {"SLEW_LIMIT": 1, "TILT": 2}


def test_a_safety_stop_is_no_fall() -> None:
    stopped = made_episode(5, fell=True)
    stopped.attributes = replace(stopped.attributes, ended="safety")
    found = inspect_episode(stopped, {})
    assert (found["fell"], found["safety_stop"]) == (False, True)


def test_a_command_that_was_not_recorded_is_none() -> None:
    found = inspect_episode(made_episode(3, command=np.full((3, 15), np.nan, dtype=np.float32)), {})
    assert found["command"]["vx"] is None
    assert summarise([found])["vx"] is None


def test_several_episodes_become_one_row() -> None:
    velocity = np.ones((10, 3), dtype=np.float32)
    found = [inspect_episode(made_episode(30, fell=True), {}), inspect_episode(made_episode(10, base_lin_vel_b=velocity), {})]
    total = summarise(found)
    assert (total["episodes"], total["steps"], total["falls"]) == (2, 40, 1)
    assert total["seconds_to_fall"] == pytest.approx(0.6)
    assert total["speed_error"] == pytest.approx(0.25)  # weighted by steps
    assert total["driven_by"] == {}


def test_what_was_hardly_measured_hardly_counts() -> None:
    fast = np.ones((10, 3), dtype=np.float32)
    lost = inspect_episode(made_episode(10, base_lin_vel_b=fast, velocity_valid=np.arange(10) < 1), {})
    whole = inspect_episode(made_episode(10, base_lin_vel_b=0 * fast), {})
    nothing = inspect_episode(made_episode(10, velocity_valid=np.zeros(10, dtype=bool)), {})
    assert summarise([lost, whole, nothing])["speed_error"] == pytest.approx(1 / 11)
    assert summarise([nothing])["speed_error"] is None
    apart = [{**lost, "legs_differ": 3.0, "stride_rows": 1}, {**whole, "legs_differ": 0.0, "stride_rows": 8}]
    assert summarise(apart)["legs_differ"] == pytest.approx(1.0)  # root of the mean square


def test_remarks_say_what_spoils_learning() -> None:
    bad = inspect_episode(made_episode(10, velocity_valid=np.arange(10) > 3), {"it": Swaying(5.0)})
    said = " | ".join(remarks([bad]))
    assert "1 of 1 episodes have no time stamps" in said
    assert "shorter than 1 s" in said
    assert "velocity samples are flagged" in said
    assert "driven by none of the given policies" in said


def test_the_deterministic_recordings_were_driven_by_what_is_said_of_them(real_data, tmp_path) -> None:
    go1 = real_data / "go1_mattress"
    policies = {name: import_policy(go1 / "policies" / f"{name}.npz", tmp_path / f"{name}.onnx") for name in ("sim_000200", "sim_000300")}
    for session, driver in {"20230808-205726": "sim_000200", "20230808-211516": "sim_000300"}.items():
        for episode in read_log(go1 / "logs" / session / f"{session}.hdf5"):
            assert driver_of(inspect_episode(episode, policies)) == driver
