"""What the loop shows a person: one page with a table, learning curves, the gate's decisions and a video of each policy."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path
from typing import Any

from common.files import write_bytes
from loop.config import LoopConfig
from loop.stages import POLICY_STAGES
from robot.policy_artifact import load_artifact
from twin.evaluate import straight_command
from twin.render import record_walk, write_video
from twin.terrain import find_terrain

COLUMNS = ("return", "forward_speed", "forward_speed_error", "distance")


def write_report(out: Path, config: LoopConfig, stages: dict[str, dict[str, Any]], seconds: dict[str, float]) -> list[str]:
    """Write report/index.html with its pictures and videos; returns a line for each picture that could not be made."""
    report = out / "report"
    report.mkdir(parents=True, exist_ok=True)
    notes = [*_draw_curves(out, report), *_film(out, report, config)]
    write_bytes(report / "index.html", _page(report, config, stages, seconds, notes).encode())
    return notes


def table_rows(stages: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table's cells as text, header first: a row for each command and stage."""
    rows = [["command", "stage", "return", "forward speed (m/s)", "speed error (m/s)", "distance (m)", "falls"]]
    for command in next(iter(stages.values())):
        for stage, results in stages.items():
            figures = results[command]
            rows.append([f"{command} m/s", stage, *(_interval(figures[name]) for name in COLUMNS), f"{figures['falls']}/{figures['trials']}"])
    return rows


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['mean']:.2f} [{low:.2f}, {high:.2f}]"


def _draw_curves(out: Path, report: Path) -> list[str]:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return ["no learning curves: matplotlib is not installed; run: pip install 'quadloop[viz]'"]
    metrics = _read_metrics(out / "metrics.csv")
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    _curve(axes[0, 0], metrics.get("pretrain", []), ("reward",), "pretraining: reward (of 1.5)", "control steps")
    _curve(axes[0, 1], metrics.get("critics", []), ("value_loss", "q_loss"), "offline: critic losses", "gradient steps")
    _gate_picture(axes[1, 0], out / "offline" / "evidence.json")
    _curve(axes[1, 1], metrics.get("online", []), ("reward",), "online: reward a step", "control steps")
    falls = axes[1, 1].twinx()
    _curve(falls, metrics.get("online", []), ("falls",), "online: reward a step, and falls so far", "control steps", colour="tab:red")
    figure.savefig(report / "curves.png", dpi=110)
    pyplot.close(figure)
    return []


def _curve(axis: Any, rows: list[dict[str, str]], names: tuple[str, ...], title: str, unit: str, colour: str | None = None) -> None:
    for name in names:
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            axis.plot(*zip(*points, strict=True), label=name, color=colour)
    axis.set_title(title)
    axis.set_xlabel(unit)
    axis.legend(loc="upper right" if colour else "lower right")


def _gate_picture(axis: Any, evidence: Path) -> None:
    decisions = json.loads(evidence.read_text())["gate"]["decisions"]
    for accepted, colour, label in ((True, "tab:green", "accepted"), (False, "tab:red", "rejected")):
        chosen = [decision for decision in decisions if decision["accepted"] is accepted]
        if chosen:
            steps, differences = zip(*((d["step"], d["difference"]) for d in chosen), strict=True)
            errors = [1.96 * d["standard_error"] for d in chosen]
            axis.errorbar(steps, differences, errors, fmt="o", color=colour, label=label)
            axis.legend()
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_title("the gate: AM-Q of candidate minus incumbent, 95 %")
    axis.set_xlabel("improvement steps")


def _film(out: Path, report: Path, config: LoopConfig) -> list[str]:
    if config.measure.video_steps == 0:
        return []
    terrain, notes = find_terrain(config.terrain), []
    for stage in POLICY_STAGES:
        policy = load_artifact(out / stage / "policy.onnx")
        frames = record_walk(policy, terrain, straight_command(config.measure.commands[0]), config.measure.seed, config.measure.video_steps)
        notes.append(write_video(frames, terrain, report / f"{stage}.mp4"))
    return [note for note in notes if note is not None]


def _read_metrics(path: Path) -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["stage"], []).append(row)
    return rows


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left;font-variant-numeric:tabular-nums}
img{max-width:100%}figure{display:inline-block;margin:0 1rem 1rem 0}.note{color:#a33}"""


def _page(report: Path, config: LoopConfig, stages: dict[str, dict[str, Any]], seconds: dict[str, float], notes: list[str]) -> str:
    rows = table_rows(stages)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    videos = "".join(
        f'<figure><video src="{stage}.mp4" width="320" height="240" controls loop muted></video><figcaption>{stage}</figcaption></figure>'
        for stage in POLICY_STAGES
        if (report / f"{stage}.mp4").exists()
    )
    times = ", ".join(f"{stage} {duration:.0f} s" for stage, duration in seconds.items())
    curves = '<img src="curves.png" alt="learning curves">' if (report / "curves.png").exists() else ""
    lines = "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)
    measure = config.measure
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>quadloop</title><style>{_STYLE}</style>
<h1>From simulation to the {html.escape(config.terrain)}</h1>
<p>{measure.trials} trials of {measure.steps} steps each, mean action, 95 % bootstrap intervals, evaluation seed {measure.seed}.
Nothing is earned after a fall.</p>
<table><tr>{head}</tr>{body}</table>
<h2>Videos at {measure.commands[0]:g} m/s</h2>{videos}{lines}
<h2>Learning</h2>{curves}
<p>Time: {times}.</p></html>
"""
