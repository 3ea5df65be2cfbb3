"""A twin fitted to a robot's logs, and what it is worth on sessions that it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.array_types import IntArray
from common.checks import at_least, between, require
from common.errors import QuadloopError
from common.progress import Progress
from common.statistics import cluster_ratio_ci95
from offline_finetune.inspection import EXACT_ERROR, driver_of, likelihood
from robot.log.episode import END_FALL, Episode
from robot.policy.artifact import PolicyArtifact
from robot.rotation import projected_gravity
from twin.evaluate import evaluate, straight_command
from twin.fit_floor import FloorFit, fit_floor
from twin.fit_motors import DELAYS, fit_motors
from twin.replay import ReplayError, Windows, chosen, drive, errors_of, joined, standing_sink, windows_of
from twin.rewalk import rewalk
from twin.walk_figures import Walk, summary
from twin.world import FLAT, World

Policies = Mapping[str, PolicyArtifact]
Walks = dict[str, list[Walk]]  # by the policy that drove

FITTED, HELD_OUT = "that is fitted to", "that is held out"
UPRIGHT = np.cos(np.radians(45))  # a robot that is tilted further touches the floor with more than its feet
TRACKED = (0.5, 1.0)  # m/s, straight walks on flat ground
TRACKED_TRIALS = 20


class CalibrationError(QuadloopError):
    """Logs that a twin cannot be fitted to."""


@dataclass(frozen=True)
class CalibrationConfig:
    """How much of the logs is used, and how long is searched."""

    held_out: int = 3
    """every so many-th session is not fitted to, but used to judge the fit"""
    horizon: int = 10
    """control steps that joints are predicted for"""
    every: int = 90
    """control steps between two windows' starts"""
    walk_s: float = 30.0
    """so much of each walk is walked again, s"""
    repeats: int = 2
    """times that each walk is walked again in a simulation"""
    points: int = 24
    """floors that are tried in a round; a quadratic in four parameters has 15 coefficients"""
    rounds: int = 3
    """rounds of the search, each in a smaller box"""
    tracked_steps: int = 500
    """control steps of the walks under a constant command, by which the fitted twin is shown beside the ideal one"""

    def __post_init__(self) -> None:
        require(self, at_least(2), "held_out")
        require(self, at_least(1), "horizon", "every", "repeats", "rounds", "tracked_steps")
        require(self, at_least(20), "points")
        require(self, between(1, 3600, "s"), "walk_s")


@dataclass(frozen=True)
class Calibration:
    """The fitted twin and its evidence."""

    world: World
    result: dict[str, Any]  # JSON values


def calibrate(episodes: Sequence[Episode], policies: Policies, config: CalibrationConfig, seed: int, name: str) -> Calibration:
    """Fit motors, then the floor under them. Without policies, whose walks could be walked again, the floor stays hard."""
    fitted, others = _split(episodes, config.held_out)
    windows, sessions = _windows(fitted, config, FLAT, FITTED)
    _windows(others, config, FLAT, HELD_OUT)  # what is wrong with the logs is said before anything takes time
    walks, judged = _walks(fitted, policies, config.walk_s, FITTED), _walks(others, policies, config.walk_s, HELD_OUT)
    with Progress("motors", total=len(DELAYS), unit="delays") as progress:
        motors = fit_motors(windows, sessions, FLAT, progress.advance)
    world = replace(motors.world(FLAT), name=name)
    result: dict[str, Any] = {"sessions": {"fitted": _sessions(fitted), "held_out": _sessions(others)}}
    if policies:
        floor = _floor(walks, policies, world, config, seed)
        world = floor.world(world)
        result["floor"] = {"values": floor.values, "ci95": floor.ci95, "at_bound": floor.at_bound}
        sides = {"fitted": walks, "held_out": judged}
        result["walks"] = {side: _compared(driven, policies, world, config, seed) for side, driven in sides.items()}
        result["tracking"] = _tracking(policies, world, config.tracked_steps, seed)
    shares = {str(delay): share for delay, share in motors.delay_share.items()}
    result["motors"] = {"values": motors.values, "ci95": motors.ci95, "delay_s": motors.delay_s, "delay_share": shares}
    result["prediction"] = _prediction(others, world, config)
    return Calibration(world, result)


def _split(episodes: Sequence[Episode], every: int) -> tuple[list[Episode], list[Episode]]:
    """Episodes to fit to, and those of every so many-th session."""
    names = _sessions(episodes)
    if len(names) < 2 * every:
        raise CalibrationError(f"{len(names)} sessions are too few to fit to some and judge by others; {2 * every} will do")
    apart = set(names[every - 1 :: every])
    fitted = [episode for episode in episodes if episode.attributes.session not in apart]
    return fitted, [episode for episode in episodes if episode.attributes.session in apart]


def _sessions(episodes: Sequence[Episode]) -> list[str]:
    return sorted({episode.attributes.session for episode in episodes})


def _floor(walks: Walks, policies: Policies, world: World, config: CalibrationConfig, seed: int) -> FloorFit:
    with Progress("floor", total=config.points * config.rounds, unit="floors") as progress:

        def simulate(tried: World, luck: int) -> list[Walk]:
            walked = _again(walks, policies, tried, config.repeats, luck)
            progress.advance()
            return walked

        recorded = [walk for driven in walks.values() for walk in driven]
        return fit_floor(recorded, simulate, world, config.points, config.rounds, seed)


def _windows(episodes: Sequence[Episode], config: CalibrationConfig, world: World, side: str) -> tuple[Windows, IntArray]:
    """Windows in which the robot is on its feet, and the number of each one's session."""
    names = _sessions(episodes)
    sink = standing_sink(world)
    parts, sessions = [], []
    for episode in episodes:
        try:
            parts.append(windows_of(episode, config.horizon, config.every, sink))
        except ReplayError:  # too short, or measured too badly
            continue
        sessions += [names.index(episode.attributes.session)] * len(parts[-1].rows)
    windows = joined(parts) if parts else None
    upright = np.zeros(0, dtype=np.bool_) if windows is None else (windows.gravity_b[..., 2] < -UPRIGHT).all(axis=1)
    if windows is None or not upright.any():
        raise CalibrationError(f"no log {side} has a measured state, with the robot on its feet, that the twin could start from")
    return chosen(windows, upright), np.array(sessions, dtype=np.int64)[upright]


def _walks(episodes: Sequence[Episode], policies: Policies, walk_s: float, side: str) -> Walks:
    """What each policy drove, with the noise that it acted with."""
    walks: Walks = {name: [] for name in policies}
    for episode in episodes:
        fits = {name: likelihood(episode, policy) for name, policy in policies.items()}
        name = driver_of({"likelihood": fits})
        if name is None:
            continue
        steps = min(len(episode), round(walk_s / episode.attributes.control_dt_s))
        error = fits[name]["error"]
        walks[name].append(
            Walk(
                commands=episode.command[:steps].astype(np.float64),
                speed=np.where(episode.velocity_valid, episode.base_lin_vel_b[:, 0], np.nan)[:steps].astype(np.float64),
                gravity_b=np.asarray(projected_gravity(episode.quaternion_wxyz[:steps]), dtype=np.float64),
                fell=episode.attributes.ended == END_FALL and steps == len(episode),
                noise_std=0.0 if error < EXACT_ERROR else error,
                session=episode.attributes.session,
            )
        )
    driven = {name: found for name, found in walks.items() if found}
    if policies and not driven:
        raise CalibrationError(f"none of the given policies drove a log {side}; quadloop inspect LOGS --policies says who did")
    return driven


def _again(walks: Walks, policies: Policies, world: World, repeats: int, seed: int) -> list[Walk]:
    return [
        walk
        for name, driven in walks.items()
        for walk in rewalk(world, driven * repeats, policies[name], seed, policies[name].metadata.layout)
    ]


def _compared(walks: Walks, policies: Policies, world: World, config: CalibrationConfig, seed: int) -> dict[str, Any]:
    """The robot's walks beside those of an ideal robot on a hard floor, and of the fitted one, both with the same luck."""
    recorded = [walk for driven in walks.values() for walk in driven]
    return {
        "recorded": summary(recorded),
        "uncalibrated": summary(_again(walks, policies, FLAT, config.repeats, seed + 1)),
        "calibrated": summary(_again(walks, policies, world, config.repeats, seed + 1)),
    }


def _tracking(policies: Policies, world: World, steps: int, seed: int) -> dict[str, Any]:
    """Mean forward speed and falls of each policy's mean under constant commands: ideal, with fitted motors on a hard floor, and fitted."""
    worlds = {"uncalibrated": FLAT, "motors": replace(FLAT, robot=world.robot, actuator=world.actuator), "calibrated": world}
    found: dict[str, Any] = {}
    for name, policy in policies.items():
        for kind, each in worlds.items():
            for vx in TRACKED:
                trials = evaluate(policy, each, straight_command(vx), TRACKED_TRIALS, seed, steps, policy.metadata.layout)
                figures = {"speed": float(trials.forward_speed.mean()), "falls": int(trials.fell.sum()), "trials": TRACKED_TRIALS}
                found.setdefault(name, {}).setdefault(kind, {})[f"{vx:g}"] = figures
    return found


def _prediction(episodes: Sequence[Episode], world: World, config: CalibrationConfig) -> dict[str, Any]:
    """Root mean square error of joint_pos (rad) and joint_vel (rad/s), one and `horizon` steps ahead, before and after."""
    sides = {}
    for kind, each in (("uncalibrated", FLAT), ("calibrated", world)):
        windows, sessions = _windows(episodes, config, each, HELD_OUT)
        sides[kind] = errors_of(windows, drive(windows, each))
    found: dict[str, Any] = {"windows": len(sessions)}
    for steps in sorted({1, config.horizon}):
        for name in ("joint_pos", "joint_vel"):
            before, after = (np.square(getattr(sides[kind], name)[:, steps - 1]).mean(axis=1) for kind in ("uncalibrated", "calibrated"))
            interval = cluster_ratio_ci95(after, before, sessions)  # of squares; a wide one would reach below 0
            found[f"{name}_{steps}_steps"] = {
                "uncalibrated": float(np.sqrt(before.mean())), "calibrated": float(np.sqrt(after.mean())),
                "ratio": float(np.sqrt(after.sum() / before.sum())), "ratio_ci95": interval and np.sqrt(np.maximum(interval, 0.0)).tolist(),
            }  # fmt: skip
    return found
