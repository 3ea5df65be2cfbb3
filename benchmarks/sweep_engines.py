"""Whether a sweep gives the same numbers as processes of this computer, on a Ray cluster of two workers, and there with a job that is
killed half-way. Prints JSON.

python benchmarks/sweep_engines.py --task door-human --data FILE
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from d4rl_bench.engines import Engine, LocalEngine, RayEngine
from d4rl_bench.job import Job
from d4rl_bench.sweep import PROGRESS, run_all
from d4rl_bench.task import find_task

SEEDS = (0, 1)
WORKERS = 2
KILLED_IN = "critics"  # the part of the first job in which it is killed


def kill_once(folder: Path, killed: list[int]) -> None:
    """Wait until the job in `folder` is in the middle of KILLED_IN, and kill -9 its process."""
    while not killed:
        time.sleep(0.02)
        try:
            inside = json.loads((folder / PROGRESS).read_text())["part"] == KILLED_IN
        except (OSError, ValueError):
            continue
        for process in Path("/proc").glob("[0-9]*") if inside else ():
            words = _words(process)
            if words[-1:] == [str(folder.resolve())] and "d4rl_bench.job_process" in words:
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:  # it has just ended
        return []


def scores(engine: Engine, jobs: list[Job], out: Path, kill: bool = False) -> dict[str, Any]:
    """What each seed's job came to: its score and its whole curve."""
    killed: list[int] = []
    if kill:
        threading.Thread(target=kill_once, args=(out / jobs[0].name(), killed), daemon=True).start()
    results = run_all(jobs, out, engine)
    return {"score": [r["score"] for r in results], "curve": [r["curve"] for r in results], "killed": len(killed)}


def main() -> int:
    """Print the figures; fails where the numbers differ or nothing was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="door-human")
    parser.add_argument("--data", required=True)
    parser.add_argument("--json", action="store_true", help="is always on")
    wanted = parser.parse_args()
    overrides = {"uni_o4.iql.steps": 2000}  # long enough to be killed in
    jobs = [Job("offline", find_task(wanted.task).name, "uni-o4", seed, "smoke", overrides, wanted.data) for seed in SEEDS]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        found = {
            "local": scores(LocalEngine(WORKERS), jobs, out / "local"),
            "ray": scores(RayEngine(WORKERS), jobs, out / "ray"),
            "ray_killed": scores(RayEngine(WORKERS), jobs, out / "ray_killed", kill=True),
        }
    same = all(f["score"] == found["local"]["score"] and f["curve"] == found["local"]["curve"] for f in found.values())
    result = {name: {"score": f["score"], "killed": f["killed"]} for name, f in found.items()}
    print(json.dumps({"task": wanted.task, "seeds": list(SEEDS), "workers": WORKERS, "same_numbers": same} | result))
    return 0 if same and found["ray_killed"]["killed"] == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
