"""What kill -9 costs: a rehearsal at 50 Hz in real time is killed at random moments while it logs. Prints JSON.

python benchmarks/kill_writer.py [--trials N]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rehearsal import ATTRIBUTES, standing, still_cycle  # beside this file

from common.files import sha256_of_file
from robot.log.episode_log import EpisodeLogError, EpisodeWriter, list_episodes, read_episode
from robot.run_episode import run_episode


def rehearse(path: Path, steps: int) -> None:
    """One logged episode of a robot that stands still, by the wall clock."""
    cycle = still_cycle()
    with EpisodeWriter(path, ATTRIBUTES) as writer:
        run_episode(cycle, standing(steps), writer)


def kill_once(directory: Path, rng: random.Random) -> float | None:
    """Lost time, ms: from the last row that can be read to the kill. None if the log cannot be opened."""
    part = directory / "killed.hdf5.part"
    child = subprocess.Popen([sys.executable, __file__, "--child", str(directory / "killed.hdf5"), "--steps", "100000"])
    while not part.exists():
        time.sleep(0.01)
    time.sleep(1.6 + rng.uniform(0.2, 2.0))  # standing up is not logged
    killed_s = time.monotonic()
    child.kill()
    child.wait()
    try:
        return 1e3 * (killed_s - float(read_episode(part).stamp_s[-1]))
    except EpisodeLogError as error:
        print(error, file=sys.stderr)
        return None
    finally:
        part.unlink()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=50, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        rehearse(wanted.child, wanted.steps)
        return
    rng = random.Random(0)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        rehearse(directory / "earlier.hdf5", 20)
        before = [sha256_of_file(path) for path in list_episodes(directory)]
        lost = [kill_once(directory, rng) for _ in range(wanted.trials)]
        untouched = before == [sha256_of_file(path) for path in list_episodes(directory)]
    opened = [value for value in lost if value is not None]
    print(
        json.dumps({"trials": len(lost), "opened": len(opened), "lost_ms_max": max(opened, default=None), "earlier_untouched": untouched})
    )


if __name__ == "__main__":
    main()
