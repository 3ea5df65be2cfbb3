"""Where a task's data come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.typed_values import show
from d4rl_bench.d4rl_file import MADE_BY, DataError, origin_of, read_d4rl, rows_in
from d4rl_bench.minari_data import read_minari
from d4rl_bench.task import Task, other_data
from learners.transitions import Transitions

MINARI = "minari:"
"""Begins the name of a data set of Minari"""


def is_of_one_task(where: str) -> bool:
    """Whether there are the data of one task alone at `where`, rather than a directory of many."""
    return where.startswith(MINARI) or Path(where).is_file()


@dataclass(frozen=True)
class LoadedData:
    """Transitions and what they were read from."""

    transitions: Transitions  # with the rewards of the data
    sha256: str  # hex, of the arrays: the same wherever and whenever they were written
    source: str  # the file's name, or minari:NAME
    made_locally: bool  # by `quadloop d4rl data make`: other data than D4RL's
    rows: int  # of the source, those included whose successor is unknown, which `transitions` are without


def load(task: Task, where: str) -> LoadedData:
    """The data of `task` at `where`: a D4RL file, a directory that holds `<task.name>.hdf5`, or `minari:NAME`.

    DataError if there are none, which says how to get some, or if they do not fit the task.
    """
    if where.startswith(MINARI):
        transitions = read_minari(where.removeprefix(MINARI), task)
        return LoadedData(transitions, transitions.sha256, where, made_locally=False, rows=len(transitions))
    name = f"{task.name}.hdf5"
    path = Path(where) / name if Path(where).is_dir() else Path(where)
    if not path.exists():
        raise DataError(
            f"{where}: no such file, nor a directory that holds {name}; "
            f"fetch D4RL's with: quadloop d4rl data download {task.name}, or {other_data(task)}"
        )
    transitions, origin = read_d4rl(path, task), origin_of(path)
    if origin.get("task", task.name) != task.name:
        raise DataError(f"{path} holds the data of {show(origin['task'])[1:-1]}, not of {task.name}")
    return LoadedData(transitions, transitions.sha256, path.name, origin.get("made_by") == MADE_BY, rows_in(path))
