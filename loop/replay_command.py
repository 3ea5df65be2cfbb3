"""`quadloop replay`: a recorded walk on the twin, as it was, driven again by what was sent, or walked by another policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.checks import NOT_NEGATIVE, at_least, require
from common.command_line import Arguments, parse
from common.errors import UsageError
from common.files import refuse_to_fill, write_json
from common.result import emit
from loop.replay_report import PICTURE, write_report
from offline_finetune.readable_log import read_log
from robot import go1
from robot.log.episode import END_FALL, Episode
from robot.policy.artifact import load_artifact
from twin.render import FRAME_EVERY, write_video
from twin.replay import PredictionErrors, drive, errors_of, follow, recorded_poses, standing_sink, windows_of
from twin.world import World, find_world

FILES = ("replay.json", "replay.mp4", PICTURE, "index.html")
POLICY_AND_MODE = "--policy FILE goes with --mode policy, and only with that"
Mode = Literal["kinematic", "torque", "policy"]


@dataclass(frozen=True, kw_only=True)
class ReplayArguments(Arguments):
    """Replay an episode log or a released recording on the twin; writes replay.json, replay.mp4 and index.html."""

    log: tyro.conf.Positional[Path]
    """the log (.hdf5)"""
    out: Path
    """directory for the page, the video and the numbers"""
    mode: Mode = "kinematic"
    """kinematic: the recorded poses; torque: the recorded targets sent to the twin; policy: a policy under the recorded commands"""
    policy: Path | None = None
    """the policy artifact of mode policy"""
    terrain: str = "flat"
    """what the twin stands on: flat, mattress, or a YAML file"""
    episode: int = 0
    """which of the episodes in a released recording, from 0"""
    horizon: int = 25
    """control steps of a window of mode torque"""
    every: int = 5
    """control steps between two windows' starts"""
    video_steps: int = 500
    """control steps that are filmed; 0 films none"""
    force: bool = False
    """overwrite what is there"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "horizon", "every")
        require(self, NOT_NEGATIVE, "episode", "video_steps")
        if (self.policy is None) == (self.mode == "policy"):
            raise UsageError(POLICY_AND_MODE)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("replay", ReplayArguments, arguments)
    world = find_world(wanted.terrain)
    refuse_to_fill(wanted.out, FILES, wanted.force)
    episodes = read_log(wanted.log)
    if wanted.episode >= len(episodes):
        raise UsageError(f"{wanted.log} holds {len(episodes)} episodes; --episode counts from 0")
    episode = episodes[wanted.episode]
    figures, poses = MODES[wanted.mode](episode, world, wanted)
    result = {
        "log": str(wanted.log), "mode": wanted.mode, "terrain": world.name, "steps": len(episode), "missing": list(episode.missing)
    } | figures  # fmt: skip
    for name in FILES:
        (wanted.out / name).unlink(missing_ok=True)
    note = write_video(poses[: wanted.video_steps : FRAME_EVERY], wanted.out / "replay.mp4") if wanted.video_steps else None
    page = write_report(wanted.out, result, note)
    write_json(wanted.out / "replay.json", result)  # last: where it is, the others are
    emit({name: value for name, value in result.items() if name != "errors"} | {"report": page}, wanted.json)
    return 0


def _kinematic(episode: Episode, world: World, _wanted: ReplayArguments) -> tuple[dict[str, Any], Float64Array]:
    poses = recorded_poses(episode, standing_sink(world))
    return {"way_m": float(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1).sum())}, poses


def _torque(episode: Episode, world: World, wanted: ReplayArguments) -> tuple[dict[str, Any], Float64Array]:
    sink = standing_sink(world)
    windows = windows_of(episode, wanted.horizon, wanted.every, sink)
    driven = drive(windows, world)
    found = errors_of(windows, driven)
    filmed = driven.qpos[one_after_the_other(windows.rows, wanted.horizon)]
    figures = {"windows": len(windows.rows), "diverged": int(driven.diverged.sum()), "errors": by_horizon(found), **_at_ends(found)}
    return figures, filmed.reshape(-1, filmed.shape[-1])


def _policy(episode: Episode, world: World, wanted: ReplayArguments) -> tuple[dict[str, Any], Float64Array]:
    if wanted.policy is None:
        raise UsageError(POLICY_AND_MODE)
    artifact = load_artifact(wanted.policy)
    poses, speeds, fell = follow(artifact, episode, world, artifact.metadata.layout)
    recorded = episode.base_lin_vel_b[: len(poses), 0][episode.velocity_valid[: len(poses)]]
    recorded = recorded[np.isfinite(recorded)]
    return {
        "policy": str(wanted.policy), "walked_steps": len(poses), "fell": fell, "recorded_fell": episode.attributes.ended == END_FALL,
        "commanded_vx": float(episode.command[: len(poses), 0].mean()), "walked_vx": float(speeds[:, 0].mean()),
        "recorded_vx": float(recorded.mean()) if len(recorded) else None,
    }, poses  # fmt: skip


MODES: dict[Mode, Callable[[Episode, World, ReplayArguments], tuple[dict[str, Any], Float64Array]]] = {
    "kinematic": _kinematic, "torque": _torque, "policy": _policy,
}  # fmt: skip


def one_after_the_other(rows: NDArray[np.int64], horizon: int) -> list[int]:
    """Which of the windows that start at `rows` (W,) to film so that none begins before the one before has ended."""
    chosen: list[int] = []
    for index, row in enumerate(rows):
        if not chosen or row >= rows[chosen[-1]] + horizon:
            chosen.append(index)
    return chosen


def by_horizon(errors: PredictionErrors) -> dict[str, Any]:
    """Root mean square over windows of each joint's error, (H, 12), rad and rad/s, and of the trunk's velocity, (H, 3), m/s.

    Also what holding the start's joints would be off by, and the median tilt, rad.
    """

    def rms(values: Float64Array) -> list[list[float | None]]:
        measured = np.isfinite(values)
        squares = np.square(np.where(measured, values, 0.0)).sum(axis=0)
        counts = measured.sum(axis=0)
        roots = np.sqrt(squares / np.maximum(counts, 1))
        return [[float(root) if count else None for root, count in zip(*row, strict=True)] for row in zip(roots, counts, strict=True)]

    return {
        "joint_names": list(go1.JOINT_NAMES), "joint_pos": rms(errors.joint_pos), "joint_vel": rms(errors.joint_vel),
        "base_lin_vel": rms(errors.base_lin_vel),
        "joint_pos_held": rms(errors.joint_pos_held), "joint_vel_held": rms(errors.joint_vel_held),
        "tilt_median": np.median(errors.tilt, axis=0).tolist(),
    }  # fmt: skip


def _at_ends(errors: PredictionErrors) -> dict[str, Any]:
    """Errors over all joints after one step and after the last."""
    ends = {"one_step": 0, "last_step": -1}
    names = ("joint_pos", "joint_vel", "joint_pos_held", "joint_vel_held")
    return {end: {name: float(np.sqrt(np.square(getattr(errors, name)[:, step]).mean())) for name in names} for end, step in ends.items()}
