"""Made results of the benchmark, and what a table says of them."""

from d4rl_bench.task import all_tasks

HOPPER, WALKER = "hopper-medium-v2", "walker2d-medium-v2"
TWO = {name: all_tasks()[name] for name in (HOPPER, WALKER)}


def result(task=HOPPER, method="iql", seed=0, score=50.0, **changes):
    made = {
        "phase": "offline", "task": task, "method": method, "seed": seed, "preset": "minutes", "overrides": {},
        "key": f"{task}/{method}/{seed}", "score": score, "return": {"mean": 1600.0, "ci95": [1500.0, 1700.0]},
        "curve": [[0, 10.0], [1000, score]],
        "data": {"sha256": "ab" * 32, "source": "hopper_medium-v2.hdf5", "steps": 1_000_000, "made_locally": False},
        "seconds": 60.0, "revision": "c" * 40, "command": "quadloop d4rl sweep", "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    return made | changes


def local(**changes):
    return {"sha256": "cd" * 32, "source": "made|locally\nby us", "steps": 20_000, "made_locally": True} | changes


def rows_of(table, name):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith(f"| {name}")]
