"""What `quadloop inspect` found in logs, as a table and as a page with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import write_json
from common.page import draw, heading, paragraph, picture, table, write_page

HEADER = [
    "session",
    "episodes",
    "minutes",
    "falls",
    "commanded (m/s)",
    "speed error (m/s)",
    "reward a step",
    "velocity flagged",
    "off the legs (m/s)",
    "dropped",
    "driven by",
]
PICTURE = "logs.png"
EPISODES = "episodes.json"


def session_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table's cells as text, header first: a row for each session, then all together."""
    sessions = dict(found["sessions"])
    if len(sessions) > 1:
        sessions["all"] = found["total"]
    return [HEADER, *(_row(name, figures) for name, figures in sessions.items())]


def write_report(out: Path, found: Mapping[str, Any]) -> Path:
    """Write `out`/index.html, its picture, and episodes.json with what each episode says; returns the page."""
    write_json(out / EPISODES, found["files"])
    note = draw(out / PICTURE, 2, 2, lambda axes: _paint(axes, found))
    parts = [
        table(session_rows(found)),
        *(paragraph(remark, "note") for remark in found["remarks"]),
        *(paragraph(reason, "note") for reason in found["unreadable"].values()),
        heading("Forward speed for the commanded one"),
        table(_speed_rows(found["total"])),
        picture(PICTURE, "speed, falls, measurement and policies") if note is None else paragraph(note, "note"),
    ]
    return write_page(out / "index.html", f"What is in {found['source'].name}", parts)


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    commanded = "-" if figures["vx"] is None else "{:.2f} .. {:.2f}".format(*(round(speed, 2) + 0.0 for speed in figures["vx"]))
    share = figures["velocity_flagged"]
    return [
        name, str(figures["episodes"]), f"{figures['seconds'] / 60:.1f}", str(figures["falls"]), commanded,
        _text(figures["speed_error"], ".2f"), _text(figures["reward_a_step"], ".4f"), _text(share, ".1%"),
        _text(figures["legs_differ"], ".2f"), _text(figures["dropped"], "d"),
        ", ".join(f"{count} {name}" for name, count in figures["driven_by"].items()) or "-",
    ]  # fmt: skip


def _speed_rows(total: Mapping[str, Any]) -> list[list[str]]:
    bins = ([f"{low:g} .. {high:g}", _text(each["command"], ".2f"), _text(each["speed"], ".2f"), str(each["rows"])]
            for each in total["speed_by_command"] for low, high in [each["commanded"]])  # fmt: skip
    return [["commanded (m/s)", "on average", "walked (m/s)", "control steps"], *bins]


def _paint(axes: Any, found: Mapping[str, Any]) -> None:
    episodes = [episode for each in found["files"].values() for episode in each]
    bins = [each for each in found["total"]["speed_by_command"] if each["speed"] is not None]
    axes[0, 0].set(title="forward speed over the commanded one", xlabel="commanded (m/s)", ylabel="walked (m/s)")
    axes[0, 0].plot([0, 2], [0, 2], ":", color="grey")
    axes[0, 0].plot([each["command"] for each in bins], [each["speed"] for each in bins], "o-")
    axes[0, 1].set(title="length of episodes", xlabel="s", ylabel="episodes")
    fell = [[episode["seconds"] for episode in episodes if episode["fell"] is outcome] for outcome in (True, False)]
    axes[0, 1].hist(fell, bins=20, stacked=True, label=["ended in a fall", "did not"])
    axes[0, 1].yaxis.get_major_locator().set_params(integer=True)
    axes[0, 1].margins(y=0.3)  # for the legend
    axes[0, 1].legend(loc="upper center", ncols=2)
    flagged = [episode["velocity_flagged"] for episode in episodes]
    axes[1, 0].set(title="velocity samples that are flagged", xlabel="episode", ylabel="share", ylim=(0, max(0.05, 1.05 * max(flagged))))
    axes[1, 0].xaxis.get_major_locator().set_params(integer=True)
    axes[1, 0].bar(range(len(episodes)), flagged)
    axes[1, 1].set(title="what each policy leaves of the actions", xlabel="correlation from step to step", ylabel="size")
    for name in episodes[0]["likelihood"]:
        fits = [episode["likelihood"][name] for episode in episodes if episode["likelihood"][name]["error"] is not None]
        axes[1, 1].plot([fit["correlation"] for fit in fits], [fit["error"] for fit in fits], "o", alpha=0.5, label=name)
    if episodes[0]["likelihood"]:
        axes[1, 1].legend()
    else:
        axes[1, 1].text(0.5, 0.5, "give --policies to see which of them drove", ha="center", transform=axes[1, 1].transAxes)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
