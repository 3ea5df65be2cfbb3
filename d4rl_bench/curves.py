"""The benchmark's learning curves as a picture."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.page import draw
from d4rl_bench.results import Column, Curve, Row, grouped, read_results

PANELS_PER_ROW = 3
STEPS = {"offline": "gradient steps (Uni-O4: of its improvement)", "online": "environment steps"}


def plot_curves(results: Sequence[Path], out_png: Path) -> str | None:
    """Draw the learning curves in the folders `results`: a panel a phase and task; a line a method, the mean of its seeds in a band.

    The band is a standard deviation to each side. Returns None, or one line that says why there is no picture.
    """
    groups = grouped(result for result in read_results(results) if result.curve)
    panels: dict[tuple[str, Row], dict[Column, list[Curve]]] = defaultdict(dict)
    for group, members in groups.items():
        panels[group.phase, group.row][group.column] = [result.curve for result in members]
    for panel in [panel for panel, lines in panels.items() if all(len(curve) == 1 for curves in lines.values() for curve in curves)]:
        del panels[panel]  # nothing was learnt: the gate refused, and a single point has no axis
    if not panels:
        return "no picture: no result has a curve"
    columns = min(PANELS_PER_ROW, len(panels))
    return draw(out_png, -(-len(panels) // columns), columns, lambda axes: _paint(axes, panels))


def _paint(axes: Any, panels: Mapping[tuple[str, Row], Mapping[Column, Sequence[Curve]]]) -> None:
    columns = sorted({column for lines in panels.values() for column in lines}, key=Column.order)
    for axis, panel in itertools.zip_longest(axes.flat, panels):
        if panel is None:
            axis.set_visible(False)
            continue
        for column, curves in panels[panel].items():
            steps, mean, deviation = band(curves, goes_on=panel[0] == "offline")
            axis.plot(steps, mean, ".-", color=f"C{columns.index(column)}", label=str(column))
            axis.fill_between(steps, mean - deviation, mean + deviation, color=f"C{columns.index(column)}", alpha=0.2, linewidth=0)
        axis.set(title=f"{panel[0]}: {panel[1]}", xlabel=STEPS[panel[0]], ylabel="normalised score")
        axis.legend()


def band(curves: Sequence[Curve], goes_on: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Steps, mean and standard deviation (n - 1; 0 for one curve) where all curves are known, in straight lines between their points.

    `goes_on`: a curve that ends earlier stays what it is, as a policy does from where the gate accepts no other.
    """
    low, ends = max(curve[0][0] for curve in curves), [curve[-1][0] for curve in curves]
    high = max(ends) if goes_on else min(ends)
    steps = np.unique([step for curve in curves for step, _ in curve if low <= step <= high])
    scores = np.stack([np.interp(steps, *np.transpose(curve)) for curve in curves])
    return steps, scores.mean(axis=0), scores.std(axis=0, ddof=min(1, len(curves) - 1))
