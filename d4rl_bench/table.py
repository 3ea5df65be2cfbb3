"""The benchmark's results as Markdown tables, written into a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from common.files import write_bytes
from common.typed_values import show
from d4rl_bench.gate_record import MARGIN, GateRecord, gate_record
from d4rl_bench.markdown import BEGIN, END, NOTHING, markdown_table, put_between_marks
from d4rl_bench.results import (
    LATE_STEPS,
    LOCAL,
    OF_MINARI,
    QUOTED,
    SHA256_DIGITS,
    Column,
    Groups,
    Result,
    ResultsError,
    Row,
    grouped,
    read_results,
)
from d4rl_bench.task import EARLY_STEPS, FROM_NOTHING, Task

PROTOCOL_SEEDS = 5
FEW = "‡"
GATE = (
    "Queries: in which a candidate's true score differs from that of the policy that it would replace; sign told: AM-Q's difference has "
    "the sign of the true one (the paper's Figure 6a: 80 %, within the margin 95 %). Scores are of the mean action; clones and improved "
    "members: their average."
)
FROM = "From: the method whose offline phase left what is fine-tuned; scratch starts from nothing."


def build_table(results: Sequence[Path], tasks: Mapping[str, Task]) -> str:
    """The results in the folders `results` as Markdown, ablations left out: offline with a row for each of `tasks`, online, the data."""
    groups = {group: members for group, members in grouped(read_results(results)).items() if group.row.task in tasks}
    offline, online = ({group: groups[group] for group in groups if group.phase == phase} for phase in ("offline", "online"))
    parts = ["### Offline", _offline_table(offline, tasks), _legend(groups)]
    if online:
        parts += ["### Online", _online_table(online), FROM]
    if gates := _gates_table(offline, tasks):
        parts += ["### The gate", gates, GATE]
    if groups:
        parts += ["### Data", _data_table(groups)]
    return "\n\n".join(parts)


def write_table(page: Path, results: Sequence[Path], tasks: Mapping[str, Task]) -> None:
    """Put the tables between the marks of the Markdown file `page`, which is made if need be. MarkdownError: see put_between_marks."""
    tables = build_table(results, tasks)
    if not page.exists():
        write_bytes(page, f"# D4RL\n\n{BEGIN}\n{END}\n".encode())
    put_between_marks(page, tables)


def _names(rows: Iterable[Row]) -> dict[Row, str]:
    """What each row is called: by its data too where a task has several of one kind."""
    names = {row: str(row) for row in rows}
    called = list(names.values())
    return {row: f"{name}, data {row.sha256[:SHA256_DIGITS]}" if called.count(name) > 1 else name for row, name in names.items()}


class _Number(NamedTuple):
    """What a cell shows, and by what it is compared with its neighbours."""

    value: float
    text: str


def _offline_table(groups: Groups, tasks: Mapping[str, Task]) -> str:
    columns = sorted({group.column for group in groups}, key=Column.order)
    measured = {(group.row, group.column): _end(results) for group, results in groups.items()}
    rows = [row for task in tasks for row in dict.fromkeys(group.row for group in groups if group.row.task == task) or [Row(task)]]
    names = _names(rows)
    lines = [[names[row], *_best_in_bold([measured.get((row, column)) for column in columns]), *_quoted([tasks[row.task]])] for row in rows]
    presets = dict.fromkeys(column.preset for column in columns)
    lines += [line for preset in presets if (line := _sum_of(preset, rows, columns, measured, tasks))]
    return markdown_table(["task", *map(str, columns), *(f"*{name}*" for name in QUOTED)], lines)


def _sum_of(
    preset: str, rows: Sequence[Row], columns: Sequence[Column], measured: Mapping[tuple[Row, Column], _Number], tasks: Mapping[str, Task]
) -> list[str]:
    """A line with the sums of one preset's columns over the rows that have all of them; empty if there are not several. Presets are summed
    by themselves, so that a trial of another one takes nothing from the rows."""
    own = [column for column in columns if column.preset == preset]
    whole = [row for row in rows if all((row, column) in measured for column in own)]
    if len(whole) < 2:
        return []
    sums = {column: sum(measured[row, column].value for row in whole) for column in own}
    totals = _best_in_bold([_Number(sums[column], f"{sums[column]:.1f}") if column in sums else None for column in columns])
    return [f"sum of the {len(whole)} rows without a gap", *totals, *_quoted([tasks[row.task] for row in whole])]


def _quoted(tasks: Sequence[Task]) -> list[str]:
    """The quoted scores, summed over `tasks`."""
    known = [[task.quoted[name] for task in tasks if name in task.quoted] for name in QUOTED]
    return [f"*{sum(scores):.1f}*" if len(scores) == len(tasks) else NOTHING for scores in known]


def _online_table(groups: Groups) -> str:
    lines, names = [], _names(group.row for group in groups)
    for row in names:
        own = {group.column: results for group, results in groups.items() if group.row == row}
        ends = _best_in_bold([_end(results) for results in own.values()])
        for (column, results), end in zip(own.items(), ends, strict=True):
            figures = Result.before, Result.mean_early, Result.lowest_early, Result.mean_late
            before, mean, lowest, late = (_mean(results, figure) for figure in figures)
            steps = max((result.curve[-1][0] for result in results if result.curve), default=None)
            lines.append([names[row], str(column), before, mean, lowest, late, end, NOTHING if steps is None else f"{steps:,.0f}"])
    early, late = f"mean of the first {EARLY_STEPS:,} steps", f"mean of the last {LATE_STEPS:,}"
    header = ["task", "from", "before", early, "lowest of them", late, "at the end", "steps"]
    return markdown_table(header, lines, names=2)


def _gates_table(groups: Groups, tasks: Mapping[str, Task]) -> str | None:
    """Of the offline runs that have a gate; None if there are none."""
    lines, everything, names = [], [], _names(group.row for group in groups)
    for group, results in groups.items():
        records = [record for result in results if (record := _gate_record(result, tasks[group.row.task]))]
        everything += records
        if records:
            found = (_spread([getattr(record, name) for record in records]) for name in ("clones", "members", "chosen", "best"))
            lines.append([names[group.row], str(group.column), *_shares(records), *found])
    if not lines:
        return None
    if len(lines) > 1:
        lines.append(["all", "", *_shares(everything), "", "", "", ""])
    scores = ["clones", "improved members", "chosen", "best on the way"]
    header = ["task", "method", "queries", "sign told", f"or change within {MARGIN:.0%}", *scores]
    return markdown_table(header, lines, names=2)


def _gate_record(result: Result, task: Task) -> GateRecord | None:
    try:
        return gate_record(result.content, task)
    except ValueError as error:
        raise ResultsError(f"{result.path}: the result with the key {show(result.key)}: {error}") from None


def _shares(records: Sequence[GateRecord]) -> list[str]:
    """How many queries there were, and the shares that were told rightly."""
    queries, agreed, within = (sum(getattr(record, name) for record in records) for name in ("queries", "agreed", "agreed_within"))
    return [str(queries), *(f"{count / queries:.0%}" if queries else NOTHING for count in (agreed, within))]


def _data_table(groups: Groups) -> str:
    lines: dict[tuple[Row, str], list[str]] = {}
    learnt = (group for group in groups if group.column.method != FROM_NOTHING)
    for row, data in ((group.row, result.content["data"]) for group in learnt for result in groups[group]):
        lines.setdefault((row, data["sha256"]), [str(row), data["source"], f"{data['steps']:,}", data["sha256"][:SHA256_DIGITS]])
    return markdown_table(["task", "source", "steps", "sha256"], lines.values(), names=2)


def _legend(groups: Groups) -> str:
    lines = [
        "- Measured: mean ± standard deviation (n - 1) over seeds of D4RL's normalised score, the number of seeds in brackets; "
        "the method's preset behind its name; best of a row in bold.",
        "- *In italics*: not measured but quoted from Tables 1 and 2 of the paper, on D4RL's data; its BC of antmaze's medium and large "
        "mazes is iterated BC.",
        f"- {NOTHING}: not measured. The command, revision and versions behind each measured number are in its result file; "
        "d3rlpy's versions, where they are not, are those in constraints-d3rlpy.txt of that revision.",
    ]
    marks = {group.row.mark for group in groups}
    if LOCAL in marks:
        lines.append(f"- {LOCAL}: on data that were made locally, not D4RL's: the quoted scores beside it are of other data.")
    if OF_MINARI in marks:
        lines.append(f"- {OF_MINARI}: on Minari's data, recorded anew, not D4RL's: the quoted scores beside it are of other data.")
    if any(len(results) < PROTOCOL_SEEDS for results in groups.values()):
        lines.append(f"- {FEW}: fewer seeds than the protocol's {PROTOCOL_SEEDS}.")
    return "\n".join(lines)


def _end(results: Sequence[Result]) -> _Number:
    """The score over seeds."""
    scores = [result.score for result in results]
    return _Number(fmean(scores), f"{_spread(scores)} ({len(scores)}){f' {FEW}' if len(scores) < PROTOCOL_SEEDS else ''}")


def _mean(results: Sequence[Result], figure: Callable[[Result], float | None]) -> str:
    """A figure of each result over seeds."""
    values = [value for result in results if (value := figure(result)) is not None]
    return _spread(values) if len(values) == len(results) else NOTHING


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _best_in_bold(numbers: Sequence[_Number | None]) -> list[str]:
    """The cells' texts; what shows the highest number is in bold, unless it is alone."""
    shown = [round(number.value, 1) for number in numbers if number is not None]
    best = max(shown) if len(shown) > 1 else None
    return [NOTHING if n is None else f"**{n.text}**" if round(n.value, 1) == best else n.text for n in numbers]
