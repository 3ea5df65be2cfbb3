"""How noisy can a robot's sensors be? Prints, for each measured value, the most that its white noise can amount to, as JSON.

python benchmarks/sensor_noise.py LOGS

Third differences take away what moves smoothly and keep sqrt(20) times the noise; their median is blind to impacts. Fast motion that is
left in them counts as noise, so these are upper bounds: a twin without any noise, walked by the same policy, has a bound above zero too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot.log.episode_log import list_episodes, read_episode
from robot.observation import GO1_LAYOUT

MEASURED = ("projected_gravity", "joint_pos", "joint_vel")
GAIN = np.sqrt(20.0)  # 1, 3, 3, 1 squared and added
MEDIAN_OF_NORMAL = 0.6745  # median |x| of a standard normal x


def largest_noise_std(frames: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Upper bound on each value's noise (58,), in physical units, from frames (T, 58) of several episodes."""
    differences = np.concatenate([np.diff(each.astype(np.float64), n=3, axis=0) for each in frames])
    return np.asarray(np.median(np.abs(differences), axis=0) / MEDIAN_OF_NORMAL / GAIN / GO1_LAYOUT.scales)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, help="directory of episode logs")
    paths = list_episodes(parser.parse_args().logs)
    frames = [read_episode(path).observations[:, -1] for path in paths]
    bound = largest_noise_std(frames)
    names = {name: bound[GO1_LAYOUT.slice_of(name)].round(5).tolist() for name in MEASURED}
    print(json.dumps({"steps": sum(map(len, frames)), "largest_noise_std": names}))


if __name__ == "__main__":
    main()
