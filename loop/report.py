"""What the loop shows a person: one page with a table, learning curves, the gate's decisions and a video of each policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.metrics import rows_of_stage
from common.page import draw, heading, paragraph, picture, table, video, with_interval, write_page
from loop.config import LoopConfig
from loop.stages import POLICY_STAGES
from offline_finetune.report import paint_gate_differences
from robot.policy.artifact import load_artifact
from twin.evaluate import straight_command
from twin.render import record_walk, write_video
from twin.world import World

FEW_POINTS = 3  # that a line does not show
COLUMNS = ("return", "forward_speed", "forward_speed_error", "distance")


def write_report(out: Path, config: LoopConfig, world: World, result: dict[str, Any]) -> list[str]:
    """Write report/index.html with its pictures and videos; returns a line for each picture that could not be made."""
    report = out / "report"
    curves = draw(report / "curves.png", 2, 2, lambda axes: _paint_curves(axes, out))
    notes = [note for note in (curves, *_film(out, report, config, world)) if note is not None]
    measure = config.measure
    how = f"{measure.trials} trials of {measure.steps} steps each, mean action, 95 % bootstrap intervals, evaluation seed {measure.seed}."
    durations = ", ".join(f"{stage} {duration:.0f} s" for stage, duration in result["seconds"].items())
    parts = [
        paragraph(f"{how} Nothing is earned after a fall."),
        table(table_rows(result["stages"])),
        paragraph(falls_on_the_way(result)),
        heading(f"Videos at {measure.commands[0]:g} m/s"),
        *(video(f"{stage}.mp4", stage) for stage in POLICY_STAGES if (report / f"{stage}.mp4").exists()),
        *(paragraph(note, "note") for note in notes),
        heading("Learning"),
        *([picture("curves.png", "learning curves")] if curves is None else []),
        paragraph(f"Time (of a stage that was resumed, since it was): {durations}."),
    ]
    write_page(report / "index.html", f"From simulation to the {config.terrain}", parts)
    return notes


def falls_on_the_way(result: dict[str, Any]) -> str:
    """What the robot had to suffer for it, in one line."""
    counts = (f"{stage} {counted['falls']} in {counted['steps']:,} steps" for stage, counted in result["on_the_way"].items())
    return f"Falls on the way: {', '.join(counts)}."


def table_rows(stages: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table's cells as text, header first: a row for each command and stage."""
    rows = [["command", "stage", "return", "forward speed (m/s)", "speed error (m/s)", "distance (m)", "falls"]]
    for command in next(iter(stages.values())):
        for stage, results in stages.items():
            figures = results[command]
            measured = (with_interval(figures[name]) for name in COLUMNS)
            rows.append([f"{command} m/s", stage, *measured, f"{figures['falls']}/{figures['trials']}"])
    return rows


def _paint_curves(axes: Any, out: Path) -> None:
    metrics = out / "metrics.csv"
    _curve(axes[0, 0], rows_of_stage(metrics, "pretrain"), ("reward",), "pretraining: reward (of 1.5)", "control steps")
    _curve(axes[0, 1], rows_of_stage(metrics, "critics"), ("value_loss", "q_loss"), "offline: critic losses", "gradient steps")
    paint_gate_differences(axes[1, 0], json.loads((out / "offline" / "evidence.json").read_text())["gate"]["decisions"])
    _curve(axes[1, 1], rows_of_stage(metrics, "online"), ("reward",), "online: reward a step, and falls so far", "control steps")
    _curve(axes[1, 1].twinx(), rows_of_stage(metrics, "online"), ("falls",), "", "control steps", colour="tab:red")


def _curve(axis: Any, rows: list[dict[str, str]], names: tuple[str, ...], title: str, unit: str, colour: str | None = None) -> None:
    for name in names:
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            style = "--" if colour else "-"  # what lies over another curve
            axis.plot(*zip(*points, strict=True), style, label=name, color=colour, marker="o" if len(points) <= FEW_POINTS else None)
    axis.set_title(title)
    axis.set_xlabel(unit)
    axis.legend(loc="upper right" if colour else "lower right")


def _film(out: Path, report: Path, config: LoopConfig, world: World) -> list[str | None]:
    if config.measure.video_steps == 0:
        return []
    command, notes = straight_command(config.measure.commands[0]), []
    for stage in POLICY_STAGES:
        policy = load_artifact(out / stage / "policy.onnx")
        frames = record_walk(policy, world, command, config.measure.seed, config.measure.video_steps, policy.metadata.layout)
        notes.append(write_video(frames, report / f"{stage}.mp4"))
    return notes
