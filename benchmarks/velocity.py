"""Can the velocity in logs be believed? Prints JSON: flagged samples by rule, agreement with the legs, and correlation with the command.

python benchmarks/velocity.py LOGS [--picture FILE]

Agreement and correlation are over rows whose whole stride is unflagged. `of_each_row` is the logged velocity itself, `over_a_stride` its
mean over the 0.34 s around a row. The picture shows the episodes with most flagged samples.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.page import draw
from offline_finetune.inspection import velocities_over_a_stride
from robot.log.episode import Episode
from robot.log.episode_log import list_episodes, read_episode

SHOWN = 4  # episodes in the picture


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's."""
    return float(np.corrcoef(one, other)[0, 1])


def figures(episodes: list[Episode]) -> dict[str, Any]:
    """The benchmark's result."""
    pairs = [velocities_over_a_stride(episode) for episode in episodes]
    legs, logged = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    each = np.concatenate([episode.base_lin_vel_b for episode in episodes])
    command = np.concatenate([episode.command[:, 0] for episode in episodes])
    flagged = np.concatenate([~episode.velocity_valid for episode in episodes])
    known = np.isfinite(legs).all(axis=1) & np.isfinite(logged).all(axis=1)
    legs, logged, each, commanded = legs[known], logged[known], each[known], command[known]
    return {
        "rows": len(flagged),
        "flagged_share": float(flagged.mean()),
        "episodes_with_flags": sum(bool((~episode.velocity_valid).any()) for episode in episodes),
        "compared_rows": len(legs),
        "legs_and_logged": {
            "correlation": {name: correlation(legs[:, axis], logged[:, axis]) for axis, name in enumerate(("forward", "sideways", "up"))},
            "rms_difference": np.sqrt(np.square(legs - logged).mean(axis=0)).tolist(),
        },
        "correlation_with_command": {
            "logged_of_each_row": correlation(each[:, 0], commanded), "logged_over_a_stride": correlation(logged[:, 0], commanded),
            "legs_over_a_stride": correlation(legs[:, 0], commanded),
        },
    }  # fmt: skip


def paint(axes: Any, episodes: list[Episode]) -> None:
    """Forward speed of the worst episodes: as logged, flagged, and by the legs."""
    worst = sorted(episodes, key=lambda episode: -int((~episode.velocity_valid).sum()))[:SHOWN]
    for axis, episode in zip(axes.ravel(), worst, strict=False):
        by_legs, _ = velocities_over_a_stride(episode)
        time_s = np.arange(len(episode)) * episode.attributes.control_dt_s
        speed, flagged = episode.base_lin_vel_b[:, 0], ~episode.velocity_valid
        axis.plot(time_s, np.clip(speed, -3, 3), color="0.7", label="logged")
        axis.plot(time_s[flagged], np.clip(speed[flagged], -3, 3), ".", color="tab:red", label="flagged")
        axis.plot(time_s, by_legs[:, 0], color="tab:blue", label="legs, over a stride")
        axis.set_title(f"{episode.attributes.session}: forward speed, m/s, within +-3")
        axis.set_xlabel("s")
        axis.legend(loc="lower left")


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("--picture", type=Path)
    wanted = parser.parse_args()
    episodes = [read_episode(path) for path in list_episodes(wanted.logs)]
    note = draw(wanted.picture, 2, SHOWN // 2, lambda axes: paint(axes, episodes)) if wanted.picture else None
    print(json.dumps(figures(episodes) | ({"picture": note or str(wanted.picture)} if wanted.picture else {})))


if __name__ == "__main__":
    main()
