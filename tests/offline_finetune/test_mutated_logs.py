"""A thousand damaged logs: each is read or refused on one line, in a process that may not grow and that has to live to the end."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from common.errors import QuadloopError
from offline_finetune.readable_log import read_log
from robot.log.episode_log import write_episode
from tests.damage import mutated
from tests.offline_finetune.made_data import made_episode, standing_states

FILES = 1000
MEMORY_BYTES = 3 * 2**30  # of address space; python, numpy and h5py alone take one
TIMEOUT_S = 300


def read_mutated(directory: Path) -> tuple[int, int]:
    """How many of FILES damaged logs were read and how many refused; anything else than a QuadloopError gets through."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    write_episode(directory / "ours.hdf5", made_episode(20))
    with h5py.File(directory / "released.hdf5", "w") as file:
        file["states"], file["actions"] = standing_states(60), np.zeros((60, 12), dtype=np.float32)
    originals = [(directory / name).read_bytes() for name in ("ours.hdf5", "released.hdf5")]
    rng = np.random.default_rng(0)
    path, read, refused = directory / "mutated.hdf5", 0, 0
    for number in range(FILES):
        path.write_bytes(mutated(originals[number % 2], rng))
        try:
            read += bool(read_log(path))
        except QuadloopError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
            refused += 1
    return read, refused


def test_damaged_logs_are_read_or_refused_on_one_line(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "tests.offline_finetune.test_mutated_logs", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == FILES
    assert refused > FILES / 4


if __name__ == "__main__":
    print(*read_mutated(Path(sys.argv[1])))
