"""What is in episode logs: how the robot walked, what was measured badly, and which policy drove it. Numbers only; no file, no picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, FloatArray
from robot import go1
from robot.command import Slot
from robot.log.episode import END_FALL, END_SAFETY, GAP_PERIODS, Episode
from robot.observation import GO1_LAYOUT
from robot.speed_bins import SPEED_BINS, speed_bin
from robot.supervisor import SafetyEvent
from robot.velocity.legs import over_a_stride, stride_velocity
from robot.velocity.watched import DRIFT_S, MAX_DRIFT, mean_difference

SPEEDS = ("vx", "vy", "yaw_rate")
# What is left of actions when their own policy's mean is taken away is its noise: about 1 std^2, and no step's noise knows the last one's.
# What another policy leaves is a difference of two gaits, which lasts over many steps.
LARGEST_OWN_DISTANCE = 2.0  # in std^2; the released logs reach 1.48 with the policy that drove
LARGEST_OWN_CORRELATION = 0.05  # from one step to the next, and three standard errors of chance
NONE_OF_THEM = "none of them"
EXACT_ERROR = 0.01  # of an action: closer than this, it acted with its mean
FLAGGED_SHARE = 0.05  # of velocity samples: more than this is worth a line of its own
SHORT_S = 1.0  # episodes shorter than this teach little but how to fall


class Policy(Protocol):
    """What may have driven, such as a robot.policy.artifact.PolicyArtifact."""

    def act(self, observation_history: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Action mean (T, 12) and std (12,) or (T, 12) of histories (T, 5, 58)."""


def inspect_episode(episode: Episode, policies: Mapping[str, Policy]) -> dict[str, Any]:
    """Everything that one episode says about itself, as JSON values; what was not recorded is None."""
    attributes = episode.attributes
    differ, strides = legs_differ(episode)
    return {
        "session": attributes.session,
        "source": attributes.source,
        "ended": attributes.ended,
        "steps": len(episode),
        "seconds": len(episode) * attributes.control_dt_s,
        "fell": attributes.ended == END_FALL,
        "safety_stop": attributes.ended == END_SAFETY,
        "policy_sha256": attributes.policy_sha256 or None,
        "missing": list(episode.missing),
        "command": {name: _range(episode.command[:, Slot[name.upper()]]) for name in SPEEDS},
        "velocity_rows": int(measures_velocity(episode).sum()),
        "speed_error": _mean(np.abs(episode.base_lin_vel_b[:, 0] - episode.command[:, Slot.VX])[measures_velocity(episode)]),
        "speed_by_command": speed_by_command(episode),
        "reward_rows": int(episode.reward_measured.sum()),
        "reward_a_step": _mean(episode.rewards[episode.reward_measured]),
        "velocity_flagged": float((~episode.velocity_valid).mean()),
        "stride_rows": strides,
        "legs_differ": differ,
        "velocity_drifts": velocity_drifts(episode),
        "timing": timing(episode),
        "safety": safety_events(episode),
        "likelihood": {name: likelihood(episode, policy) for name, policy in policies.items()},
    }


def speed_by_command(episode: Episode) -> list[dict[str, Any]]:
    """Number of rows with a usable velocity, mean of their commands and of their forward speeds, m/s, for commands in each of SPEED_BINS.

    Slower and backward commands are in none of them.
    """
    vx, speed = episode.command[:, Slot.VX], episode.base_lin_vel_b[:, 0]
    bins = np.where(measures_velocity(episode), speed_bin(vx), -1)
    chosen = [bins == index for index in range(len(SPEED_BINS))]
    return [
        {"commanded": list(edges), "rows": int(rows.sum()), "command": _mean(vx[rows]), "speed": _mean(speed[rows])}
        for edges, rows in zip(SPEED_BINS, chosen, strict=True)
    ]


def measures_velocity(episode: Episode) -> BoolArray:
    """Whether each row (T,) has a forward speed that can be believed."""
    return np.asarray(episode.velocity_valid & np.isfinite(episode.base_lin_vel_b[:, 0]))


def legs_differ(episode: Episode) -> tuple[float | None, int]:
    """How far apart, m/s (root mean square), the logged horizontal velocity and the legs' are over a stride, None where one is missing,
    and in how many rows both are there."""
    by_legs, logged = velocities_over_a_stride(episode)
    difference = (logged - by_legs)[:, :2]
    known = difference[np.isfinite(difference).all(axis=1)]
    return float(np.sqrt(np.square(known).sum(axis=1).mean())) if len(known) else None, len(known)


def velocity_drifts(episode: Episode) -> float | None:
    """Share of an episode's stretches of DRIFT_S in which the logged horizontal velocity is off the legs' by MAX_DRIFT on average.

    None where one of the two is missing, or the episode shorter. A camera that loses its way slides off slowly: no sample is a glitch
    by itself.
    """
    by_legs, logged = velocities_over_a_stride(episode)
    steps = round(DRIFT_S / episode.attributes.control_dt_s)
    if len(episode) < steps:
        return None
    off = mean_difference((logged - by_legs)[:, :2], steps)
    off = off[np.isfinite(off)]
    return float((off > MAX_DRIFT).mean()) if len(off) else None


def velocities_over_a_stride(episode: Episode) -> tuple[FloatArray, FloatArray]:
    """The trunk's velocity (T, 3), m/s, by the legs and as logged; the logged one is NaN where its stride holds a flagged sample.

    Which feet stand is told by the gait's clock in the observation: the released logs have no foot forces.
    """
    stance = episode.observations[:, -1, GO1_LAYOUT.slice_of("clock")] > 0
    by_legs = stride_velocity(episode.joint_pos, episode.joint_vel, episode.gyro_b, stance)
    usable = episode.velocity_valid & np.isfinite(episode.base_lin_vel_b).all(axis=1)
    rows = over_a_stride(np.ones(len(episode)))
    whole = over_a_stride(usable.astype(np.float64)) > rows - 0.5
    velocity = np.where(usable[:, None], episode.base_lin_vel_b, 0.0)
    logged = np.stack([over_a_stride(velocity[:, axis]) for axis in range(3)], axis=1) / rows[:, None]
    return by_legs, np.where(whole[:, None], logged, np.nan)


def timing(episode: Episode) -> dict[str, Any] | None:
    """How evenly rows came, ms, and how many were left out; None where the source did not record time."""
    if not np.isfinite(episode.stamp_s).all() or len(episode) < 2:
        return None
    with np.errstate(over="ignore"):
        periods = np.diff(episode.stamp_s)
    if not np.isfinite(periods).all():
        return None
    expected = episode.attributes.control_dt_s
    late = periods > GAP_PERIODS * expected
    latency = episode.loop_latency_s[np.isfinite(episode.loop_latency_s)]
    return {
        "period_ms": {"median": 1e3 * float(np.median(periods)), "largest": 1e3 * float(periods.max())},
        "latency_ms": {"p99": 1e3 * float(np.percentile(latency, 99)) if len(latency) else None},
        "dropped": int((np.rint(periods[late] / expected) - 1).sum()),
        "overruns": int(episode.overrun.sum()),
    }


def safety_events(episode: Episode) -> dict[str, int]:
    """In how many rows each of the supervisor's events stands."""
    counts = {str(event.name): int(((episode.safety_events & event.value) != 0).sum()) for event in SafetyEvent}
    return {name: count for name, count in counts.items() if count}


def likelihood(episode: Episode, policy: Policy) -> dict[str, Any]:
    """How well a policy explains the actions, rows without any history left out.

    log_prob: mean log density of a row's action, nats; error: root mean square of a - mean over rows and joints; distance: mean of
    ((a - mean) / std)^2; correlation: of a - mean with itself one row later; drove: whether all that is what its own actions leave.
    """
    seen = episode.observations.any(axis=(1, 2))
    mean, std = policy.act(episode.observations)
    clipped = np.clip(mean, -go1.ACTION_CLIP, go1.ACTION_CLIP)  # as the robot does with every action
    left = (episode.actions - clipped).astype(np.float64)
    usable = seen & np.isfinite(left).all(axis=1)
    if usable.sum() < 2:
        return {"log_prob": None, "error": None, "distance": None, "correlation": None, "drove": False}
    left, std = left[usable], np.broadcast_to(std, left.shape)[usable]
    squared = np.square(left / std)
    error, distance = float(np.sqrt(np.square(left).mean())), float(squared.mean())
    correlation = float((left[1:] * left[:-1]).sum() / max(np.square(left).sum(), np.finfo(np.float64).tiny))
    by_chance = LARGEST_OWN_CORRELATION + 3 / np.sqrt(left.size)
    noisy = distance < LARGEST_OWN_DISTANCE and abs(correlation) < by_chance
    return {
        "log_prob": float((-0.5 * (squared + np.log(2 * np.pi)) - np.log(std)).sum(axis=-1).mean()),
        "error": error, "distance": distance, "correlation": correlation, "drove": bool(error < EXACT_ERROR or noisy),
    }  # fmt: skip


def driver_of(found: Mapping[str, Any]) -> str | None:
    """Which of the policies that an inspected episode was compared with drove it, None if it is none of them."""
    drove = {name: fit["error"] for name, fit in found["likelihood"].items() if fit["drove"]}
    return min(drove, key=lambda name: float(drove[name])) if drove else None


def summarise(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row for several inspected episodes, such as those of a session."""
    steps = np.array([episode["steps"] for episode in found])

    def mean(name: str, rows: str = "steps") -> float | None:
        return _weighted([(episode[name], episode[rows]) for episode in found])

    timed = [episode["timing"] for episode in found if episode["timing"] is not None]
    drivers = Counter(driver_of(episode) or NONE_OF_THEM for episode in found if episode["likelihood"])
    return {
        "episodes": len(found),
        "steps": int(steps.sum()),
        "seconds": float(sum(episode["seconds"] for episode in found)),
        "falls": sum(episode["fell"] for episode in found),
        "seconds_to_fall": _mean(np.array([episode["seconds"] for episode in found if episode["fell"]])),
        "safety_stops": sum(episode["safety_stop"] for episode in found),
        "vx": _range(np.array([end for episode in found for end in episode["command"]["vx"] or ()])),
        "speed_error": mean("speed_error", "velocity_rows"),
        "speed_by_command": [_joined_bins(bins) for bins in zip(*(episode["speed_by_command"] for episode in found), strict=True)],
        "reward_a_step": mean("reward_a_step", "reward_rows"),
        "velocity_flagged": mean("velocity_flagged"),
        "legs_differ": _root_mean_square([(episode["legs_differ"], episode["stride_rows"]) for episode in found]),
        "velocity_drifts": mean("velocity_drifts"),
        "dropped": sum(each["dropped"] for each in timed) if timed else None,
        "driven_by": dict(drivers.most_common()),
    }


def remarks(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What somebody who wants to learn from these episodes should know, a line each."""
    said = []
    if untimed := sum(episode["timing"] is None and episode["steps"] > 1 for episode in found):
        said.append(f"{untimed} of {len(found)} episodes have no time stamps: dropped samples cannot be counted")
    if short := sum(episode["seconds"] < SHORT_S for episode in found):
        said.append(f"{short} of {len(found)} episodes are shorter than {SHORT_S:g} s")
    if flagged := sum(episode["velocity_flagged"] > FLAGGED_SHARE for episode in found):
        much = f"more than {FLAGGED_SHARE:.0%} of the velocity samples are flagged"
        said.append(f"in {flagged} of {len(found)} episodes {much}; a data set leaves their rows out")
    if drifted := sum((episode["velocity_drifts"] or 0) > 0 for episode in found):
        far = f"for {DRIFT_S:g} s it is off what the legs say by more than {MAX_DRIFT:g} m/s"
        said.append(f"in {drifted} of {len(found)} episodes the velocity drifts: {far}")
    if dropped := sum(episode["timing"]["dropped"] for episode in found if episode["timing"] is not None):
        said.append(f"control periods left out of the logs: {dropped}")
    if absent := sorted({name for episode in found for name in episode["missing"]}):
        said.append(f"not recorded in some or all: {', '.join(absent)}")
    if strangers := sum(driver_of(episode) is None for episode in found if episode["likelihood"]):
        said.append(f"{strangers} of {len(found)} episodes were driven by none of the given policies")
    return said


def _joined_bins(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means = {name: _weighted([(each[name], each["rows"]) for each in bins]) for name in ("command", "speed")}
    return {"commanded": bins[0]["commanded"], "rows": sum(each["rows"] for each in bins)} | means


def _root_mean_square(values: Sequence[tuple[float | None, int]]) -> float | None:
    square = _weighted([(None if value is None else value**2, weight) for value, weight in values])
    return None if square is None else float(np.sqrt(square))


def _weighted(values: Sequence[tuple[float | None, int]]) -> float | None:
    """The mean of what is known, by weight; None if nothing has any."""
    known = [(value, weight) for value, weight in values if value is not None and weight]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None


def _range(values: FloatArray) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [float(known.min()), float(known.max())] if len(known) else None


def _mean(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
