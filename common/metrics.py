"""What a run measures while it runs: one table that every spreadsheet opens, and the same numbers for TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import QuadloopError
from common.files import whole_or_absent

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

KEYS = ["stage", "step"]


class MetricsError(QuadloopError):
    """The table of metrics is damaged."""


class Metrics:
    """Appends rows (stage, step, name: value) to `metrics.csv`; a name that is new gets a column, left empty in older rows.

    The scalars go to `tensorboard/<stage>/` too, if tensorboard is installed: the table holds all that they show.
    Every row is in the file when `write` returns, so that a killed run loses none.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.csv"
        self._events = directory / "tensorboard"
        self._columns: list[str] = []
        if self.path.exists():
            self._columns, rows = _read(self.path)
            _write(self.path, self._columns, rows)  # without the half line that a crash may have left
        self._scalars: dict[str, Scalars] = {}

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Add one row. `step` counts within `stage`; values are plain numbers, NaN and infinity included."""
        new = [name for name in values if name not in self._columns]
        if new or not self._columns:
            self._add_columns(new)
        row = {"stage": stage, "step": step} | {name: repr(float(value)) for name, value in values.items()}
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([row.get(column, "") for column in self._columns])
        if stage not in self._scalars:
            self._scalars[stage] = Scalars(self._events / stage, first_step=step)
        self._scalars[stage].write(step, values)

    def drop_after(self, stage: str, step: int) -> None:
        """Forget the rows of `stage` past `step`: for a run that goes on from a checkpoint made at `step`."""
        if self.path.exists():
            columns, rows = _read(self.path)
            _write(self.path, columns, [row for row in rows if row["stage"] != stage or int(row["step"]) <= step])

    def close(self) -> None:
        """Flush what TensorBoard gets."""
        for scalars in self._scalars.values():
            scalars.close()
        self._scalars.clear()

    def _add_columns(self, new: list[str]) -> None:
        columns, rows = _read(self.path) if self.path.exists() else (KEYS, [])
        self._columns = columns + new
        _write(self.path, self._columns, rows)


class Scalars:
    """One TensorBoard event file; does nothing where tensorboard is absent. Steps from `first_step` on replace an earlier run's."""

    def __init__(self, directory: Path, first_step: int) -> None:
        self._writer: EventFileWriter | None = None
        if importlib.util.find_spec("tensorboard") is not None:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._event: Callable[..., Any] = Event
            self._summary: Any = Summary
            self._writer = EventFileWriter(str(directory))
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        if self._writer is not None:
            points = [self._summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
            self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=points)))

    def close(self) -> None:
        """Write out what is queued."""
        if self._writer is not None:
            self._writer.close()


def rows_of_stage(path: Path, stage: str) -> list[dict[str, str]]:
    """The rows of one stage in a metrics.csv, in order; cells that the stage did not fill are empty."""
    return [row for row in _read(path)[1] if row["stage"] == stage]


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table; a last row that a crash cut short, so that it has no line end, is left out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    columns = lines[0] if lines else []
    if columns[:2] != KEYS:
        raise MetricsError(f"{path} does not begin with the columns stage,step; move it away or choose another --out")
    if any(len(line) != len(columns) or not line[1].isdecimal() for line in lines[1:]):
        raise MetricsError(f"{path} is damaged; move it away or choose another --out")
    return columns, [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _write(path: Path, columns: list[str], rows: Iterable[Mapping[str, str]]) -> None:
    with whole_or_absent(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
