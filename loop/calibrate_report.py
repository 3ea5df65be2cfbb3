"""The page of a calibration: what was fitted, how the twin walks beside the robot, and how well it predicts joints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.page import draw, heading, paragraph, picture, table, write_page
from twin.walk_figures import HORIZONS_S

PICTURE = "calibration.png"
HORIZONS = (0.0, *HORIZONS_S)
SIDES = ("recorded", "uncalibrated", "calibrated")
UNITS = {
    "joint_damping": "N m s / rad", "joint_frictionloss": "N m", "joint_armature": "kg m^2", "time_constant_s": "s", "push_speed": "m/s",
}  # fmt: skip


def write_report(out: Path, result: Mapping[str, Any]) -> Path:
    """Write `out`/index.html and its picture."""
    parts = [heading("Fitted"), table(_values(result)), paragraph(_delay(result["motors"]))]
    if "walks" in result:
        note = draw(out / PICTURE, 1, 2, lambda axes: _paint(axes[0], result["walks"]["held_out"]))
        parts += [
            heading("Recorded commands, walked again"),
            paragraph("The policies that drove, with their noise, under the recorded commands; sessions that nothing was fitted to."),
            picture(PICTURE, "speed and falls of robot and twin") if note is None else paragraph(note, "note"),
        ]
        parts += [
            part for name in ("held_out", "fitted") for part in (paragraph(name.replace("_", " ")), table(_walks(result["walks"][name])))
        ]
        parts += [heading("Constant commands"), table(_tracking(result["tracking"]))]
    parts += [heading("Joints predicted, sessions that nothing was fitted to"), table(_prediction(result["prediction"]))]
    return write_page(out / "index.html", "Calibration of the twin", parts)


def _values(result: Mapping[str, Any]) -> list[list[str]]:
    rows = [["", "value", "95 %", "unit"]]
    for part in ("motors", "floor"):
        for name, value in result.get(part, {}).get("values", {}).items():
            known = result[part]["ci95"]
            interval = "{:.3g} .. {:.3g}".format(*known[name]) if known else "of so few sessions there is none"
            rows.append([name, f"{value:.3g}", interval, UNITS.get(name, "")])
    return rows


def _delay(motors: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{1e3 * float(delay):g} ms {share:.0%}" for delay, share in motors["delay_share"].items())
    return f"Motors follow a target {1e3 * motors['delay_s']:g} ms after it was sent; best when sessions are drawn again: {shares}."


def _walks(sides: Mapping[str, Any]) -> list[list[str]]:
    bins = list(sides["recorded"]["speed_by_command"])
    horizons = list(sides["recorded"]["fallen_within_s"])
    heads = [*(f"{each} m/s" for each in bins), "falls / 100k", *(f"down in {each} s" for each in horizons)]
    rows = [["", "walks", *heads, "roll, deg", "pitch, deg"]]
    for side in SIDES:
        found = sides[side]
        speeds = [_number(found["speed_by_command"][each]["mean"]) for each in bins]
        falls = [f"{found['falls_per_100k_steps']:.0f}", *(f"{found['fallen_within_s'][each]:.0%}" for each in horizons)]
        rows.append([side, str(found["walks"]), *speeds, *falls, _number(found["roll_deg"]), _number(found["pitch_deg"])])
    return rows


def _tracking(found: Mapping[str, Any]) -> list[list[str]]:
    rows = [["policy", "twin", "command, m/s", "speed, m/s", "falls"]]
    for policy, kinds in found.items():
        for kind, commands in kinds.items():
            rows += [[policy, kind, vx, f"{each['speed']:.2f}", f"{each['falls']}/{each['trials']}"] for vx, each in commands.items()]
    return rows


def _prediction(found: Mapping[str, Any]) -> list[list[str]]:
    rows = [["", "uncalibrated", "calibrated", "ratio", "95 %"]]
    for name, each in found.items():
        if isinstance(each, Mapping):
            interval = "{:.2f} .. {:.2f}".format(*each["ratio_ci95"]) if each["ratio_ci95"] else "of one session there is none"
            rows.append([name, f"{each['uncalibrated']:.3g}", f"{each['calibrated']:.3g}", f"{each['ratio']:.2f}", interval])
    return rows


def _paint(axes: Any, sides: Mapping[str, Any]) -> None:
    bins = list(sides["recorded"]["speed_by_command"])
    for index, side in enumerate(SIDES):
        speeds, errors = ([sides[side]["speed_by_command"][each][part] or np.nan for each in bins] for part in ("mean", "error"))
        axes[0].bar(np.arange(len(bins)) + 0.27 * (index - 1), speeds, 0.27, yerr=errors, label=side)
        axes[1].plot(HORIZONS, [0.0, *sides[side]["fallen_within_s"].values()], "o-", label=side)
    axes[0].set_xticks(range(len(bins)), bins)
    axes[0].set_xlabel("commanded, m/s")
    axes[0].set_title("achieved forward speed, m/s")
    axes[0].margins(y=0.3)  # for the legend
    axes[0].legend(loc="upper left")
    axes[1].set_title("probability of a fall")
    axes[1].set_xlabel("within, s")
    axes[1].legend()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
