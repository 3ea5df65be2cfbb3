"""How fast and in how much memory logs become a data set that can be learnt from. Prints JSON.

python benchmarks/reading.py LOGS

Memory is the process's peak above what it had before it read; `data_bytes` is the size of the data set's arrays.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from offline_finetune.dataset import build_dataset
from robot.log.episode_log import list_episodes


def peak_bytes() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    paths = list_episodes(parser.parse_args().logs)
    before, began = peak_bytes(), time.monotonic()
    dataset = build_dataset(paths)
    seconds = time.monotonic() - began
    parts = (dataset.train, dataset.holdout)
    arrays = [value for part in parts for field in fields(part) if hasattr(value := getattr(part, field.name), "nbytes")]
    data_bytes = sum(int(np.asarray(array).nbytes) for array in arrays)
    extra = peak_bytes() - before
    print(json.dumps({"logs": len(paths), "seconds": seconds, "data_bytes": data_bytes, "peak_bytes": extra, "ratio": extra / data_bytes}))


if __name__ == "__main__":
    main()
