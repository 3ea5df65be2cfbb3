"""The columns of an episode log, one control step as a row, and what must hold of every episode that is written or read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float32Array
from common.errors import QuadloopError
from robot import go1
from robot.command import COMMAND_SIZE, MAX_COMMAND
from robot.log.episode import (
    END_FALL,
    END_OPERATOR,
    END_SAFETY,
    END_TIME_LIMIT,
    END_UNKNOWN,
    SCHEMA_VERSION,
    Episode,
    EpisodeAttributes,
)
from robot.observation import GO1_LAYOUT
from robot.policy.metadata import ArtifactError, layout_from_json
from robot.reward import POSITIVE_TERMS, WEIGHTS

MAX_STEPS = 200_000  # over an hour at 50 Hz
_CONTROL_DT_TOLERANCE_S = 1e-9
MAX_NAME = 200  # characters of a session, a source, a policy's hash
ENDS = (END_FALL, END_SAFETY, END_TIME_LIMIT, END_OPERATOR, END_UNKNOWN)
# What a learner reads may not hold NaN or infinity, unless the episode names it as missing.
FINITE = ("observations", "actions", "action_mean", "log_prob", "rewards")
# Commands, at most 10, are scaled by 2 at most; a state beyond a Go1's joints ends the episode. The released logs reach 8.07.
MAX_OBSERVATION = 100.0
MAX_REWARD = sum(WEIGHTS[name] for name in POSITIVE_TERMS)  # penalties shrink it, and never below 0
RANGES = {
    "observations": (-MAX_OBSERVATION, MAX_OBSERVATION),
    "actions": (-go1.ACTION_CLIP, go1.ACTION_CLIP),
    "rewards": (0.0, MAX_REWARD * (1 + 1e-6)),  # float32 rounds
}
_ANY_NUMBER = (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
OBSERVATION_SHAPE = (GO1_LAYOUT.history, GO1_LAYOUT.frame_size)


class EpisodeLogError(QuadloopError):
    """An episode log that cannot be written or read; the message names the file."""


class UnreadableFileError(EpisodeLogError):
    """A file that is no HDF5 file, of which only the beginning is there, or that the system does not give."""


class NoWholeStepError(EpisodeLogError):
    """An unfinished log that ends before its first step is whole: nothing is wrong with it, and nothing in it."""


_FLOAT = np.dtype("<f4")
_BOOL = np.dtype(np.bool_)


@dataclass(frozen=True)
class EpisodeField:
    """One column: `shape` and `dtype` of a single row, little-endian on disk."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: np.dtype[np.generic] = _FLOAT


_JOINTS = (go1.NUM_JOINTS,)
_LEGS = (len(go1.LEGS),)
FIELDS = (
    EpisodeField("observations", OBSERVATION_SHAPE),
    EpisodeField("actions", _JOINTS),
    EpisodeField("action_mean", _JOINTS),
    EpisodeField("log_prob"),
    EpisodeField("rewards"),
    EpisodeField("reward_terms", (len(WEIGHTS),)),
    EpisodeField("terminated", dtype=_BOOL),
    EpisodeField("truncated", dtype=_BOOL),
    EpisodeField("joint_pos", _JOINTS),
    EpisodeField("joint_vel", _JOINTS),
    EpisodeField("joint_torque", _JOINTS),
    EpisodeField("quaternion_wxyz", (4,)),
    EpisodeField("gyro_b", (3,)),
    EpisodeField("accelerometer_b", (3,)),
    EpisodeField("foot_force", _LEGS),
    EpisodeField("base_lin_vel_b", (3,)),
    EpisodeField("base_ang_vel_b", (3,)),
    EpisodeField("velocity_valid", dtype=_BOOL),
    EpisodeField("velocity_age_s"),
    EpisodeField("command", (COMMAND_SIZE,)),
    EpisodeField("joint_pos_target", _JOINTS),
    EpisodeField("stamp_s", dtype=np.dtype("<f8")),
    EpisodeField("loop_latency_s"),
    EpisodeField("overrun", dtype=_BOOL),
    EpisodeField("safety_events", dtype=np.dtype("<u4")),
)
FINAL_OBSERVATION = EpisodeField("final_observation", OBSERVATION_SHAPE)
ROW = np.dtype([(field.name, field.dtype, field.shape) for field in FIELDS])  # 1,648 bytes


@dataclass(frozen=True)
class EpisodeStep:
    """One control step: the fields of `robot.log.episode.Episode` without their leading T, same units and frames.

    `rewards` and what it is made of were measured one step after the action; `terminated` and `truncated` of the last
    step follow from why the episode ended and are set when the log is closed.
    """

    observations: Float32Array  # (5, 58)
    actions: Float32Array  # (12,)
    action_mean: Float32Array  # (12,)
    log_prob: float
    rewards: float
    reward_terms: Float32Array  # (7,)
    terminated: bool
    truncated: bool
    joint_pos: NDArray[np.floating]  # (12,) rad
    joint_vel: NDArray[np.floating]  # (12,) rad/s
    joint_torque: NDArray[np.floating]  # (12,) N m
    quaternion_wxyz: NDArray[np.floating]  # (4,)
    gyro_b: NDArray[np.floating]  # (3,) rad/s
    accelerometer_b: NDArray[np.floating]  # (3,) m/s^2
    foot_force: NDArray[np.floating]  # (4,) N on the twin, raw numbers on a Go1
    base_lin_vel_b: NDArray[np.floating]  # (3,) m/s
    base_ang_vel_b: NDArray[np.floating]  # (3,) rad/s
    velocity_valid: bool
    velocity_age_s: float
    command: NDArray[np.floating]  # (15,) unscaled
    joint_pos_target: NDArray[np.floating]  # (12,) rad
    stamp_s: float
    loop_latency_s: float
    overrun: bool
    safety_events: int


def check_ended(ended: str) -> None:
    """EpisodeLogError unless `ended` is one of the reasons of robot.log.episode."""
    if ended not in ENDS:
        raise EpisodeLogError(f"an episode ends by one of {', '.join(ENDS)}, not '{ended[:40]}'")


def check_missing(missing: tuple[str, ...]) -> None:
    """EpisodeLogError unless every name is that of a floating-point field: only those can hold NaN for what was not recorded."""
    floats = {field.name for field in FIELDS if field.dtype.kind == "f"}
    for name in missing:
        if name not in floats:
            raise EpisodeLogError(f"'{name[:40]}' cannot be missing; it is no floating-point field of an episode")


def check_length(steps: int) -> None:
    """EpisodeLogError unless an episode may have this many steps."""
    if not 1 <= steps <= MAX_STEPS:
        raise EpisodeLogError(f"an episode has 1 to {MAX_STEPS:,} steps, not {steps:,}")


def check_attributes(attributes: EpisodeAttributes) -> None:
    """EpisodeLogError, naming the first attribute that is wrong, unless this robot made the episode: a learner takes it for its own."""
    if attributes.schema_version != SCHEMA_VERSION:
        raise EpisodeLogError(f"schema version {attributes.schema_version} is not the {SCHEMA_VERSION} that this quadloop writes")
    if attributes.robot != go1.NAME:
        raise EpisodeLogError(f"robot is {attributes.robot[:40]!r} instead of {go1.NAME!r}; the episode was recorded on another robot")
    if not abs(attributes.control_dt_s - go1.CONTROL_DT) <= _CONTROL_DT_TOLERANCE_S:  # written so that NaN is refused
        raise EpisodeLogError(f"control_dt_s is {attributes.control_dt_s} instead of {go1.CONTROL_DT}; another control period")
    try:
        layout_from_json(attributes.layout_json)
    except ArtifactError as error:
        raise EpisodeLogError(f"layout_json: {error}") from error
    check_ended(attributes.ended)
    for name in ("session", "source", "velocity_source", "policy_sha256"):
        text = getattr(attributes, name)
        if len(text) > MAX_NAME or not text.isprintable():  # people read them at a terminal, which obeys what is not
            raise EpisodeLogError(f"{name} is {text[:40]!r}; it must be printable and at most {MAX_NAME} characters long")


def check_episode(episode: Episode) -> None:
    """EpisodeLogError, naming the first field that is wrong, unless the episode keeps its contract."""
    check_attributes(episode.attributes)
    check_missing(episode.missing)
    check_length(len(episode))
    for field in FIELDS:
        _check_array(field, getattr(episode, field.name), (len(episode), *field.shape))
    _check_array(FINAL_OBSERVATION, episode.final_observation, OBSERVATION_SHAPE)
    _check_values(episode)
    if (np.abs(episode.command) > MAX_COMMAND).any():
        raise EpisodeLogError(f"command is beyond +-{MAX_COMMAND:g}, which no robot was asked for")
    _check_end(episode)


def _check_array(field: EpisodeField, values: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape or values.dtype != field.dtype:
        raise EpisodeLogError(f"{field.name} is {values.dtype} {values.shape}, not {field.dtype} {shape}")


def _check_values(episode: Episode) -> None:
    columns = {name: getattr(episode, name) for name in FINITE if name not in episode.missing}
    for name, values in columns.items():
        if why := what_is_wrong(name, values):
            raise EpisodeLogError(f"{name} {why}; leave the log out")
    if "observations" in columns and (why := what_is_wrong("observations", episode.final_observation)):
        raise EpisodeLogError(f"final_observation {why}; leave the log out")


def what_is_wrong(name: str, values: NDArray[np.floating[Any]]) -> str:
    """Why a learner must not read these values, of any shape, of the FINITE field `name`; "" if it may."""
    lowest, highest = RANGES.get(name, _ANY_NUMBER)
    if values.min() >= lowest and values.max() <= highest:  # neither holds where there is a NaN
        return ""
    if not np.isfinite(values).all():
        return "holds NaN or infinity and is not named as missing"
    return f"is not within {lowest:.3g} to {highest:.3g}"


def _check_end(episode: Episode) -> None:
    """A fall that is not marked would be learned from as if walking went on: the flags must tell what `ended` tells."""
    if episode.terminated[:-1].any() or episode.truncated[:-1].any():
        raise EpisodeLogError("terminated or truncated is set before the last step; one log holds one episode")
    if not (episode.terminated[-1] or episode.truncated[-1]):
        raise EpisodeLogError("neither terminated nor truncated is set on the last step")
    ended = episode.attributes.ended
    told = ended not in (END_UNKNOWN, END_SAFETY)  # logs of earlier revisions have safety stops that terminate
    if told and bool(episode.terminated[-1]) != (ended == END_FALL):
        raise EpisodeLogError(f"the last step's terminated is {bool(episode.terminated[-1])} although the episode ended by '{ended}'")
