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

from common.files import sha256_of_file
from robot import go1
from robot.artifact_metadata import layout_json
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.episode import EpisodeAttributes
from robot.episode_log import EpisodeLogError, EpisodeWriter, list_episodes, read_episode
from robot.observation import GO1_LAYOUT, trot_command
from robot.pace import RealTime
from robot.run_episode import EpisodePlan, run_episode
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import Supervisor


def rehearse(path: Path, steps: int) -> None:
    """One logged episode of a robot that stands still, by the wall clock."""
    driver, policy = StillDriver(clock=time.monotonic), StillPolicy()
    driver.connect()
    loop = ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd))
    layout = layout_json(GO1_LAYOUT)
    attributes = EpisodeAttributes(go1.NAME, "", go1.CONTROL_DT, layout, "{}", "rehearsal", "still", velocity_source="still")
    with EpisodeWriter(path, attributes) as writer:
        run_episode(ControlCycle(driver, StillVelocity(), loop, RealTime()), EpisodePlan(steps, lambda _: trot_command()), writer)


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
