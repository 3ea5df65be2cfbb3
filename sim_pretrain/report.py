"""What a pretraining leaves for people: how the policy walks under several commands, its learning curve, its gait and a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.checks import NOT_NEGATIVE, at_least, require
from common.files import write_json
from common.metrics import rows_of_stage
from common.page import draw, heading, paragraph, picture, table, video, with_interval, write_page
from robot import go1
from robot.observation import foot_phases
from robot.policy.artifact import PolicyArtifact
from twin.evaluate import evaluate, record_gait, straight_command
from twin.gait import CONTACT_FORCE_N
from twin.render import record_walk, write_video
from twin.world import FLAT

COMMANDS = ((0.5,), (1.0,), (1.5,), (0.0, 0.3), (0.0, 0.0, 1.0))  # m/s, m/s, rad/s: the axes that a Go1's policy is judged on
MEASURED = ("forward_speed", "sideways_speed", "turning_rate")  # of those axes
FILMED = (1.0,)
GAIT_STEPS = 100  # control steps of the gait diagram, 2 s
SETTLE_STEPS = 100  # control steps before it


@dataclass(frozen=True)
class MeasureConfig:
    """How the pretrained policy is measured."""

    trials: int = 50
    """robots a command; 0 measures nothing and makes no report"""
    steps: int = 1000
    """control steps of a trial"""
    seed: int = 12345
    """draws how the robots start"""
    video_steps: int = 400
    """control steps of the video; 0 makes none"""

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "trials", "seed", "video_steps")
        require(self, at_least(1), "steps")


def measure(policy: PolicyArtifact, config: MeasureConfig) -> dict[str, Any]:
    """{command as text: summary of its trials on flat ground}; the summary's `speed_error_share` is |mean speed - command| / command."""
    results = {}
    for command in COMMANDS:
        trials = evaluate(policy, FLAT, straight_command(*command), config.trials, config.seed, config.steps, policy.metadata.layout)
        axis = _axis(command)
        speed = float(getattr(trials, MEASURED[axis]).mean())
        share = abs(speed - command[axis]) / abs(command[axis])
        results[" ".join(f"{value:g}" for value in command)] = trials.summary(config.steps) | {"speed_error_share": share}
    return results


def write_report(out: Path, policy: PolicyArtifact, config: MeasureConfig) -> dict[str, Any]:
    """Write `out`/walk.json and `out`/report/index.html with its pictures; returns what walk.json holds."""
    results = measure(policy, config)
    write_json(out / "walk.json", results)
    report = out / "report"
    curves = draw(report / "curves.png", 2, 2, lambda axes: _paint_curves(axes, out / "metrics.csv"))
    gait = draw(report / "gait.png", 1, 1, lambda axes: _paint_gait(axes[0, 0], policy, config.seed))
    film = _film(report / "walk.mp4", policy, config)
    notes = [note for note in (curves, film) if note is not None]
    how = f"Flat ground, {config.trials} trials of {config.steps} steps each, mean action, 95 % intervals, seed {config.seed}."
    parts = [
        paragraph(f"{how} Nothing is measured after a fall."),
        table(table_rows(results)),
        *([video("walk.mp4", f"{FILMED[0]:g} m/s")] if (report / "walk.mp4").exists() else []),
        *([picture("gait.png", "which feet are on the floor")] if gait is None else []),
        heading("Learning"),
        *([picture("curves.png", "learning curves")] if curves is None else []),
        *(paragraph(note, "note") for note in notes),
    ]
    write_page(report / "index.html", "A walker from simulation", parts)
    return results


def table_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """The table's cells as text, header first."""
    header = ["command", "speed", "speed error", "gait (Hz)", "duty factor", "return", "torque (N m)", "power (W)", "falls"]
    rows = [header]
    for command, result in results.items():
        values = [float(value) for value in command.split()]
        axis = _axis(values)
        unit = "rad/s" if axis == 2 else "m/s"
        name = ("forward", "sideways", "turning")[axis]
        rows.append(
            [
                f"{name} {values[axis]:g} {unit}", with_interval(result[MEASURED[axis]]), f"{100 * result['speed_error_share']:.1f} %",
                *(with_interval(result[figure]) for figure in ("gait_frequency", "duty_factor", "return", "torque", "power")),
                f"{result['falls']}/{result['trials']}",
            ]
        )  # fmt: skip
    return rows


def _axis(command: Sequence[float]) -> int:
    """Which of vx, vy and yaw rate a command asks for."""
    return int(np.argmax(np.abs(command)))


def _paint_curves(axes: Any, metrics: Path) -> None:
    rows = rows_of_stage(metrics, "pretrain")
    steps = [int(row["step"]) / 1e6 for row in rows]
    _curves(axes[0, 0], steps, rows, ("reward",), "reward a second (of 1.5)")
    _curves(axes[0, 1], [float(row["seconds"]) / 60 for row in rows], rows, ("reward",), "reward a second", "minutes")
    _curves(axes[1, 0], steps, rows, ("track_lin_vel", "track_ang_vel", "open_commands"), "tracking, share of commands that is open")
    _curves(axes[1, 1], steps, rows, ("action_rate", "swing_contact", "stance_lift", "swing_height", "bias", "power"), "penalties")


def _curves(axis: Any, x: list[float], rows: list[dict[str, str]], names: tuple[str, ...], title: str, unit: str = "million steps") -> None:
    for name in names:
        points = [(at, float(row[name])) for at, row in zip(x, rows, strict=True) if row.get(name)]
        if points:  # isaacgym's tasks have other terms
            axis.plot(*zip(*points, strict=True), label=name)
    axis.set_title(title)
    axis.set_xlabel(unit)
    if axis.lines:
        axis.legend()


def _paint_gait(axis: Any, policy: PolicyArtifact, seed: int) -> None:
    """Bars where a foot presses the floor, over a lighter band where the command wants it to."""
    command = straight_command(*FILMED)
    forces, gait_index = record_gait(policy, FLAT, command, seed, SETTLE_STEPS + GAIT_STEPS, policy.metadata.layout)
    forces, gait_index = forces[SETTLE_STEPS:], gait_index[SETTLE_STEPS:]
    wanted = foot_phases(gait_index, np.tile(command, (len(gait_index), 1))) < 0.5
    for foot, leg in enumerate(go1.LEGS):
        axis.broken_barh(_stretches(wanted[:, foot]), (3 - foot - 0.4, 0.8), color="tab:blue", alpha=0.2)
        axis.broken_barh(_stretches(forces[:, foot] > CONTACT_FORCE_N), (3 - foot - 0.25, 0.5), color="tab:blue")
        axis.text(-0.02, 3 - foot, leg, ha="right", va="center")
    axis.set_yticks([])
    axis.set_xlim(0, GAIT_STEPS * go1.CONTROL_DT)
    axis.set_xlabel("s")
    axis.set_title(f"feet on the floor at {FILMED[0]:g} m/s; light: as commanded")


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(start, length) in s of the stretches where a mask (T,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).reshape(-1, 2)
    return [(start * go1.CONTROL_DT, (end - start) * go1.CONTROL_DT) for start, end in edges]


def _film(path: Path, policy: PolicyArtifact, config: MeasureConfig) -> str | None:
    if config.video_steps == 0:
        return None
    frames = record_walk(policy, FLAT, straight_command(*FILMED), config.seed, config.video_steps, policy.metadata.layout)
    return write_video(frames, path)
