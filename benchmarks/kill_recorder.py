"""What kill -9 of everything costs: a rehearsal at 50 Hz and its recorder are killed together at random moments. Prints JSON.

python benchmarks/kill_recorder.py [--trials N] [--at-once N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rehearsal import ATTRIBUTES, standing, still_cycle  # beside this file

from common.shared_block import SharedBlock
from robot.log.episode_fields import EpisodeStep
from robot.log.episode_log import EpisodeLogError, read_episode
from robot.log.recorder import Recorder, Recording
from robot.run_episode import run_episode

_STEPS = 100_000  # more than anybody waits for
_STAMP = np.dtype(np.float64)


class Noted:
    """A recording that notes the stamp of its newest row where the benchmark can see it."""

    def __init__(self, recording: Recording, stamp_s: NDArray[np.float64]) -> None:
        self._recording, self._stamp_s = recording, stamp_s
        self.close = recording.close

    def append(self, step: EpisodeStep) -> None:
        """Record one step."""
        self._recording.append(step)
        self._stamp_s[0] = step.stamp_s


def rehearse(path: Path, stamp_fd: int) -> None:
    """One recorded episode of a robot that stands still, by the wall clock."""
    cycle = still_cycle()
    with Recorder() as recorder, recorder.begin(path, ATTRIBUTES) as recording:
        stamp_s = SharedBlock(_STAMP.itemsize, stamp_fd).array(_STAMP, 1)
        run_episode(cycle, standing(_STEPS), Noted(recording, stamp_s))


@dataclass(frozen=True)
class Loss:
    """What one kill cost, ms, from the last row that can be read: None if the log cannot be opened."""

    to_kill_ms: float | None  # to the kill, however late the rehearsal itself was
    to_newest_row_ms: float | None  # to the newest row that was given to the recorder


def kill_once(part: Path, wait_s: float) -> Loss:
    """Kill a rehearsal `wait_s` after it began to record. One that gave up by itself, on a machine that is too busy, is begun again."""
    block = SharedBlock(_STAMP.itemsize)
    command = [sys.executable, __file__, "--child", str(part.with_suffix("")), "--stamp-fd", str(block.fd)]
    while True:
        # A session of its own: the rehearsal and its recorder are one process group.
        child = subprocess.Popen(command, start_new_session=True, pass_fds=[block.fd])
        while not part.exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(wait_s)
        if child.poll() is None:
            break
    killed_s = time.monotonic()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    newest_s = float(block.array(_STAMP, 1)[0])
    block.close()
    try:
        read_s = float(read_episode(part).stamp_s[-1])
    except EpisodeLogError as error:
        print(error, file=sys.stderr)
        return Loss(None, None)
    return Loss(1e3 * (killed_s - read_s), 1e3 * (newest_s - read_s))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1, help="how many rehearsals run side by side; more than cores make each other late")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stamp-fd", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        rehearse(wanted.child, wanted.stamp_fd)
        return
    rng = random.Random(0)  # noqa: S311 - no secret
    waits_s = [1.6 + rng.uniform(0.2, 2.0) for _ in range(wanted.trials)]  # standing up is not logged
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(wanted.at_once) as pool:
        parts = [Path(name, f"{number}.hdf5.part") for number in range(wanted.trials)]
        losses = list(pool.map(kill_once, parts, waits_s))
    lost_ms = [loss.to_kill_ms for loss in losses if loss.to_kill_ms is not None]
    from_newest_ms = [loss.to_newest_row_ms for loss in losses if loss.to_newest_row_ms is not None]
    result = {"trials": len(losses), "opened": len(lost_ms), "worst_lost_ms": max(lost_ms, default=None)}
    print(json.dumps(result | {"worst_lost_from_newest_row_ms": max(from_newest_ms, default=None)}))


if __name__ == "__main__":
    main()
