"""Draws the learning curves of several pretraining runs, over steps and over time, and prints their figures as JSON.

python benchmarks/pretrain_curves.py --picture docs/pretraining.png RUN [RUN ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common.metrics import rows_of_stage
from common.page import draw

WINDOW = 10  # updates that a point of the curve averages


def read(run: Path) -> dict[str, list[float]]:
    """Columns of a run's metrics, averaged over WINDOW updates."""
    rows = rows_of_stage(run / "metrics.csv", "pretrain")
    names = ("step", "seconds", "reward", "track_lin_vel", "track_ang_vel", "open_commands", "falls")
    whole = len(rows) // WINDOW * WINDOW
    return {name: [sum(float(row[name]) for row in rows[i : i + WINDOW]) / WINDOW for i in range(0, whole, WINDOW)] for name in names}


def paint(axes: Any, runs: dict[str, dict[str, list[float]]]) -> None:
    """Return and tracking, over steps and over time."""
    for name, curves in runs.items():
        steps, minutes = [step / 1e6 for step in curves["step"]], [second / 60 for second in curves["seconds"]]
        tracking = [lin + ang for lin, ang in zip(curves["track_lin_vel"], curves["track_ang_vel"], strict=True)]
        axes[0, 0].plot(steps, curves["reward"], label=name)
        axes[0, 1].plot(minutes, curves["reward"], label=name)
        axes[1, 0].plot(steps, tracking, label=name)
        axes[1, 1].plot(minutes, tracking, label=name)
    titles = (("return a second, exploring (of 1.5)",) * 2, ("tracking alone (of 1.5)",) * 2)
    for row in range(2):
        for column, unit in enumerate(("million control steps", "minutes")):
            axes[row, column].set_title(titles[row][column])
            axes[row, column].set_xlabel(unit)
            axes[row, column].legend()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path, required=True)
    wanted = parser.parse_args()
    runs = {run.name: read(run) for run in wanted.runs}
    note = draw(wanted.picture, 2, 2, lambda axes: paint(axes, runs))
    figures = {
        name: {
            "steps": curves["step"][-1], "seconds": curves["seconds"][-1], "steps_per_s": curves["step"][-1] / curves["seconds"][-1],
            "reward": curves["reward"][-1], "tracking": curves["track_lin_vel"][-1] + curves["track_ang_vel"][-1],
            "open_commands": curves["open_commands"][-1],
        }
        for name, curves in runs.items()
    }  # fmt: skip
    print(json.dumps({"picture": str(wanted.picture) if note is None else note, "runs": figures}))


if __name__ == "__main__":
    main()
