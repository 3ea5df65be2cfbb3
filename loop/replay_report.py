"""The page of a replay: what was replayed, what is missing, the video, and how the twin's error grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.page import draw, heading, paragraph, picture, table, video, write_page
from robot import go1

PARTS = ("hip", "thigh", "calf")
PICTURE = "errors.png"


def write_report(out: Path, result: Mapping[str, Any], film_note: str | None) -> Path:
    """Write `out`/index.html; `film_note` says why there is no video, if there is none."""
    parts = [table(_rows(result))]
    if result["missing"]:
        parts.append(paragraph(f"Not in the log: {', '.join(result['missing'])}.", "note"))
    if (out / "replay.mp4").exists() and film_note is None:
        parts.append(video("replay.mp4", f"{result['mode']} replay on {result['terrain']}"))
    elif film_note is not None:
        parts.append(paragraph(film_note, "note"))
    if "errors" in result:
        note = draw(out / PICTURE, 1, 4, lambda axes: _paint(axes[0], result["errors"]))
        said = "Root mean square over windows, each of which starts in a recorded state; dotted: if the joints stayed as they were there."
        parts += [
            heading("Twin against robot"),
            paragraph(said),
            picture(PICTURE, "errors by horizon") if note is None else paragraph(note, "note"),
        ]
    return write_page(out / "index.html", f"Replay of {Path(result['log']).name}", parts)


def _rows(result: Mapping[str, Any]) -> list[list[str]]:
    plain = {name: value for name, value in result.items() if name not in ("errors", "missing") and not isinstance(value, Mapping)}
    nested = {
        f"{name} {inner}": number
        for name, value in result.items()
        if isinstance(value, Mapping) and name != "errors"
        for inner, number in value.items()
    }
    shown = (plain | nested).items()
    return [["", ""], *([name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in shown)]


def _paint(axes: Any, errors: Mapping[str, Any]) -> None:
    for axis, name, unit in ((axes[0], "joint_pos", "rad"), (axes[1], "joint_vel", "rad/s")):
        axis.set_title(f"{name}, {unit}")
        axis.set_xlabel("control steps of 20 ms")
        for index, part in enumerate(PARTS):
            chosen = [joint for joint, full in enumerate(go1.JOINT_NAMES) if part in full]
            for kind, style, label in (("", "-", part), ("_held", ":", None)):
                curve = np.sqrt(np.square(np.array(errors[name + kind])[:, chosen]).mean(axis=1))
                axis.plot(np.arange(1, len(curve) + 1), curve, style, color=f"C{index}", label=label)
        axis.legend()
    for axis, title, curves in (
        (axes[2], "tilt, rad, median", errors["tilt_median"]),
        (axes[3], "trunk's velocity, m/s", errors["base_lin_vel"]),
    ):
        axis.set_title(title)
        axis.set_xlabel("control steps of 20 ms")
        axis.plot(np.arange(1, len(curves) + 1), np.array(curves, dtype=np.float64))  # what was not measured is a gap
    axes[3].legend(("forward", "sideways", "up"))
