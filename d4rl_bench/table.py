"""What the benchmark measured: gathered from sweeps into small files, read back and checked, shown as tables and as curves.

Gathered results lie in `<phase>/<task>.json`, each a list of results: `{"phase", "task", "method", "seed", "preset", "overrides", "key",
"score", "return", "curve": [[step, score], ...], "data": {"sha256", "source", "steps", "made_locally"}, "seconds", "revision", "command",
"versions"}` and what else a job had to say; what starts from nothing has no data. Scores are D4RL's: 0 is a random policy, 100 an expert.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from common.files import write_bytes, write_json
from common.page import draw
from common.typed_values import WrongTypeError, as_type, describe, show
from d4rl_bench.gate_record import MARGIN, GateRecord, gate_record
from d4rl_bench.sweep import RESULT, read_json
from d4rl_bench.task import EARLY_STEPS, FROM_NOTHING, Task, all_tasks, first_of_world

PROTOCOL_SEEDS = 5
CURVE_POINTS = 40
LATE_STEPS = 50_000
REVISION_DIGITS = 12
QUOTED = ("BC", "IQL", "TD3+BC", "Uni-O4")
"""Methods whose scores are quoted from the paper, by the paper's names."""
BEGIN, END = "<!-- begin generated -->", "<!-- end generated -->"
NOTHING, LOCAL, FEW = "–", "†", "‡"
PANELS_PER_ROW = 3
STEPS = {"offline": "gradient steps (Uni-O4: of its improvement)", "online": "environment steps"}
GATE = (
    "Queries: in which a candidate's true score differs from that of the policy that it would replace; sign told: AM-Q's difference has "
    "the sign of the true one (the paper's Figure 6a: 80 %, within the margin 95 %). Scores are of the mean action."
)
FROM = "From: the method whose offline phase left what is fine-tuned; scratch starts from nothing."

_KINDS: dict[str, Any] = {
    "phase": Literal["offline", "online"], "task": str, "method": str, "seed": int, "preset": str, "key": str, "score": float,
    "curve": tuple[tuple[float, float], ...],
}  # fmt: skip
_DATA_KINDS: dict[str, Any] = {"sha256": str, "source": str, "steps": int, "made_locally": bool}

Curve = tuple[tuple[float, float], ...]
"""(step, score) pairs, steps rising."""


class TableError(QuadloopError):
    """Results that cannot be shown, or a page that cannot take them."""


class Row(NamedTuple):
    """A task and the data that were learnt from. Data made locally count as one, whatever their seed: the recipe is the same. What starts
    from nothing has the first task of its world, without data."""

    task: str
    sha256: str = ""
    made_locally: bool = False

    def __str__(self) -> str:
        return f"{self.task} {LOCAL}" if self.made_locally else self.task


class Column(NamedTuple):
    """How it was learnt; online, what the fine-tuning started from."""

    method: str
    preset: str

    def __str__(self) -> str:
        return f"{self.method}, {self.preset}"

    def order(self) -> tuple[int, str, str]:
        """Sorts the quoted methods as they are quoted, others behind them."""
        names = [name.casefold() for name in QUOTED]
        return names.index(self.method) if self.method in names else len(names), self.method, self.preset


class Group(NamedTuple):
    """What results that differ in the seed alone have in common."""

    phase: str
    row: Row
    column: Column
    ablation: str  # its overrides as JSON; empty for the table's own cells


Place = tuple[Group, int]
"""A group and a seed."""


@dataclass(frozen=True)
class Result:
    """One result, checked; `content` is all of it, as it stood in the file `path`."""

    path: Path
    group: Group
    seed: int
    key: str
    score: float
    curve: Curve
    content: dict[str, Any]

    @property
    def finished(self) -> float:
        """When, in seconds since 1970; 0 where the result does not say."""
        said = self.content.get("finished")
        return float(said) if isinstance(said, (int, float)) else 0.0

    @property
    def place(self) -> Place:
        """Of which the tables take one result."""
        return self.group, self.seed

    def __str__(self) -> str:
        """The place in words."""
        return ", ".join([str(self.group.row), str(self.group.column), *filter(None, [self.group.ablation]), f"seed {self.seed}"])

    def order(self) -> tuple[Any, ...]:
        """Sorts by task, data, method, preset, ablation and seed; what starts from nothing behind all others."""
        group, row = self.group, self.group.row
        learnt = group.phase, group.column.method == FROM_NOTHING, list(all_tasks()).index(row.task), row.made_locally, row.sha256
        return *learnt, group.column.order(), group.ablation, self.seed, self.key

    def before(self) -> float | None:
        """The score at step 0; None if it was not measured."""
        return self.curve[0][1] if self.curve and self.curve[0][0] == 0 else None

    def lowest_early(self) -> float | None:
        """The lowest score after the start and within EARLY_STEPS; None if none was measured."""
        return min((score for step, score in self.curve if 0 < step <= EARLY_STEPS), default=None)

    def mean_early(self) -> float | None:
        """The mean of all scores after the start and within EARLY_STEPS; None if none was measured."""
        early = [score for step, score in self.curve if 0 < step <= EARLY_STEPS]
        return sum(early) / len(early) if early else None

    def mean_late(self) -> float | None:
        """The mean of all scores within the last LATE_STEPS; None if none was measured. A single one may lie far from its neighbours."""
        late = [score for step, score in self.curve if step > self.curve[-1][0] - LATE_STEPS]
        return sum(late) / len(late) if late else None


Groups = Mapping[Group, Sequence[Result]]


def collect(out: Path, into: Path) -> None:
    """Put the results that are finished below `out`, the folder of a sweep, into `into`/<phase>/<task>.json beside what is there.

    Of two of the same group and seed that are other work (another key) the one that was finished last stands, and the other is named on
    standard error; one that does not say when it was finished takes no place in `into` from another. Curves are thinned to about
    CURVE_POINTS. TableError for damaged files.
    """
    there = {result.place: result for result in read_results([into])} if into.is_dir() else {}
    kept = {result.key for result in there.values()}
    touched = set()
    for path in sorted(out.rglob(RESULT), key=_age):
        result = _result(_read(path), path)
        home = into / result.group.phase / f"{result.group.row.task}.json"
        if (before := there.get(result.place)) is not None:
            home = before.path
            if before.key != result.key and not _takes_over(result, before, before.key in kept, home):
                continue
        there[result.place] = replace(result, path=home)
        touched.add(home)
    for path in touched:
        results = sorted((result for result in there.values() if result.path == path), key=Result.order)
        write_json(path, [_with_thin_curve(result) for result in results])


def _takes_over(result: Result, before: Result, kept: bool, home: Path) -> bool:
    """Whether a result takes the place of another, which was `kept` in a file or comes from the same sweep; says so."""
    later = result.finished >= before.finished and not (kept and not result.finished)
    stands, goes = (result, before) if later else (before, result)
    print(f"{home}: {result}: {_origin(stands)} stands in place of {_origin(goes)}", file=sys.stderr)
    return later


def _age(path: Path) -> tuple[int, Path]:
    """Sorts the newest file last."""
    return path.stat().st_mtime_ns, path


def _origin(result: Result) -> str:
    revision, data = str(result.content.get("revision", "unknown")), result.content.get("data")
    of_data = f" of data {data['sha256'][:REVISION_DIGITS]}" if isinstance(data, dict) else ""
    return f"revision {revision[:REVISION_DIGITS]}{of_data}"


def read_results(folders: Sequence[Path]) -> list[Result]:
    """All results in the files *.json below `folders`, in the table's order; TableError if one is bad or two of them collide."""
    by_key: dict[str, Result] = {}
    for path in sorted(path for folder in folders for path in _json_files(folder)):
        for result in read_file(path):
            if by_key.setdefault(result.key, result).content != result.content:
                raise TableError(f"{path}: another file has another result with the key {show(result.key)}; remove one of them")
    results = sorted(by_key.values(), key=Result.order)
    for one, other in itertools.pairwise(results):
        if one.place == other.place:
            keys = " and ".join(f"{show(result.key)} in {result.path}" for result in (one, other))
            raise TableError(f"there are two {one.group.phase} results of {one}, keys {keys}; remove the one that is out of date")
    return results


def read_file(path: Path) -> list[Result]:
    """The results in one gathered file; TableError says what is wrong with it."""
    content = _read(path)
    if not isinstance(content, list):
        raise TableError(f"{path}: not a list of results")
    return [_result(item, path, f", result {index}") for index, item in enumerate(content)]


def build_table(results: Sequence[Path], tasks: Mapping[str, Task]) -> str:
    """The results in the folders `results` as Markdown, ablations left out: offline with a row for each of `tasks`, online, the data."""
    groups = {group: members for group, members in _grouped(read_results(results)).items() if group.row.task in tasks}
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
    """Put the tables between the marks BEGIN and END of the Markdown file `page`, which is made if need be; the rest stays as it is.

    TableError if the page does not have each mark once, in this order.
    """
    try:
        text = page.read_bytes().decode() if page.exists() else f"# D4RL\n\n{BEGIN}\n{END}\n"
    except UnicodeDecodeError:
        raise TableError(f"{page} is no text in UTF-8") from None
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(END) < text.index(BEGIN):
        raise TableError(f"{page} must have one line {BEGIN} and below it one line {END}; the tables go between them")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_bytes(page, f"{before}{BEGIN}\n{build_table(results, tasks)}\n{END}{after}".encode())


def plot_curves(results: Sequence[Path], out_png: Path) -> str | None:
    """Draw the learning curves in the folders `results`: a panel a phase and task; a line a method, the mean of its seeds in a band.

    The band is a standard deviation to each side. Returns None, or one line that says why there is no picture.
    """
    groups = _grouped(result for result in read_results(results) if result.curve)
    panels: dict[tuple[str, Row], dict[Column, list[Curve]]] = defaultdict(dict)
    for group, members in groups.items():
        panels[group.phase, group.row][group.column] = [result.curve for result in members]
    for panel in [panel for panel, lines in panels.items() if all(len(curve) == 1 for curves in lines.values() for curve in curves)]:
        del panels[panel]  # nothing was learnt: the gate refused, and a single point has no axis
    if not panels:
        return "no picture: no result has a curve"
    columns = min(PANELS_PER_ROW, len(panels))
    return draw(out_png, -(-len(panels) // columns), columns, lambda axes: _paint(axes, panels))


def thinned(curve: Sequence[Any], early_steps: int, late_steps: int) -> list[Any]:
    """About CURVE_POINTS points of a curve, those nearest to evenly spread steps, and all within the first `early_steps` and the last
    `late_steps`, whose means are shown. Done again it changes nothing, so that results may be collected on top of older ones.
    """
    if len(curve) <= CURVE_POINTS:
        return list(curve)
    first, last = curve[0][0], curve[-1][0]
    wanted = [first + place * (last - first) / (CURVE_POINTS - 1) for place in range(CURVE_POINTS)]
    kept = {min(range(len(curve)), key=lambda index: abs(curve[index][0] - step)) for step in wanted}
    kept.update(index for index, (step, _) in enumerate(curve) if step <= early_steps or step > last - late_steps)
    return [curve[index] for index in sorted(kept)]


def _with_thin_curve(result: Result) -> dict[str, Any]:
    ends = (EARLY_STEPS, LATE_STEPS) if result.group.phase == "online" else (0, 0)
    return result.content | {"curve": thinned(result.content["curve"], *ends)}


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TableError(f"{folder} is no folder of results")
    return list(folder.rglob("*.json"))


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: not a readable JSON file ({' '.join(str(error).split())})") from None


def _result(content: Any, path: Path, where: str = "") -> Result:
    """A result from a file; `where` in it is said in the TableError."""
    place = f"{path}{where}"
    values = _values(content, _KINDS, place)
    overrides = content.get("overrides")
    if not isinstance(overrides, dict):
        raise TableError(f"{place}: overrides must be a mapping, not {show(overrides)}")
    if values["task"] not in all_tasks():
        raise TableError(f"{place}: there is no task {show(values['task'])}")
    if any(later <= earlier for (earlier, _), (later, _) in itertools.pairwise(values["curve"])):
        raise TableError(f"{place}: the steps of its curve do not rise")
    row = _row(values, content, place)
    ablation = json.dumps(overrides, sort_keys=True) if overrides else ""
    group = Group(values["phase"], row, Column(values["method"], values["preset"]), ablation)
    return Result(path, group, values["seed"], values["key"], values["score"], values["curve"], content)


def _row(values: Mapping[str, Any], content: Mapping[str, Any], place: str) -> Row:
    if values["method"] == FROM_NOTHING:
        return Row(first_of_world(values["task"]).name)
    data = _values(content.get("data"), _DATA_KINDS, f"{place}: data")
    return Row(values["task"], "" if data["made_locally"] else data["sha256"], data["made_locally"])


def _values(content: Any, kinds: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The values in `content` of the names and types in `kinds`."""
    if not isinstance(content, dict):
        raise TableError(f"{place}: not a mapping")
    values = {}
    for name, kind in kinds.items():
        if name not in content:
            raise TableError(f"{place}: no '{name}'")
        try:
            values[name] = as_type(kind, content[name])
        except WrongTypeError:
            raise TableError(f"{place}: {name} must be {describe(kind)}, not {show(content[name])}") from None
    return values


def _grouped(results: Iterable[Result]) -> dict[Group, Sequence[Result]]:
    """The results of the table's own cells, in the order in which they come."""
    groups: dict[Group, list[Result]] = defaultdict(list)
    for result in results:
        if not result.group.ablation:
            groups[result.group].append(result)
    return _with_scratch(groups)


def _with_scratch(groups: Groups) -> dict[Group, Sequence[Result]]:
    """The same, PPO from nothing shown beside all tasks of its world, since it learnt from no data; alone where there are none."""
    shown = {group: results for group, results in groups.items() if group.column.method != FROM_NOTHING}
    learnt = list(shown)
    for group, results in groups.items():
        if group.column.method == FROM_NOTHING:
            beside = [other.row for other in learnt if other.phase == group.phase and first_of_world(other.row.task).name == group.row.task]
            shown |= {group._replace(row=row): results for row in beside or [group.row]}
    return shown


class _Number(NamedTuple):
    """What a cell shows, and by what it is compared with its neighbours."""

    value: float
    text: str


def _offline_table(groups: Groups, tasks: Mapping[str, Task]) -> str:
    columns = sorted({group.column for group in groups}, key=Column.order)
    measured = {(group.row, group.column): _end(results) for group, results in groups.items()}
    rows = [row for task in tasks for row in dict.fromkeys(group.row for group in groups if group.row.task == task) or [Row(task)]]
    lines = [[str(row), *_best_in_bold([measured.get((row, column)) for column in columns]), *_quoted([tasks[row.task]])] for row in rows]
    whole = [row for row in rows if columns and all((row, column) in measured for column in columns)]
    if len(whole) > 1:
        sums = [sum(measured[row, column].value for row in whole) for column in columns]
        totals = _best_in_bold([_Number(total, f"{total:.1f}") for total in sums])
        lines.append([f"sum of the {len(whole)} rows without a gap", *totals, *_quoted([tasks[row.task] for row in whole])])
    return _markdown(["task", *map(str, columns), *(f"*{name}*" for name in QUOTED)], lines)


def _quoted(tasks: Sequence[Task]) -> list[str]:
    """The quoted scores, summed over `tasks`."""
    known = [[task.quoted[name] for task in tasks if name in task.quoted] for name in QUOTED]
    return [f"*{sum(scores):.1f}*" if len(scores) == len(tasks) else NOTHING for scores in known]


def _online_table(groups: Groups) -> str:
    lines = []
    for row in dict.fromkeys(group.row for group in groups):
        own = {group.column: results for group, results in groups.items() if group.row == row}
        ends = _best_in_bold([_end(results) for results in own.values()])
        for (column, results), end in zip(own.items(), ends, strict=True):
            figures = Result.before, Result.mean_early, Result.lowest_early, Result.mean_late
            before, mean, lowest, late = (_mean(results, figure) for figure in figures)
            steps = max((result.curve[-1][0] for result in results if result.curve), default=None)
            lines.append([str(row), str(column), before, mean, lowest, late, end, NOTHING if steps is None else f"{steps:,.0f}"])
    early, late = f"mean of the first {EARLY_STEPS:,} steps", f"mean of the last {LATE_STEPS:,}"
    header = ["task", "from", "before", early, "lowest of them", late, "at the end", "steps"]
    return _markdown(header, lines, names=2)


def _gates_table(groups: Groups, tasks: Mapping[str, Task]) -> str | None:
    """Of the offline runs that have a gate; None if there are none."""
    lines, everything = [], []
    for group, results in groups.items():
        records = [record for result in results if (record := _gate_record(result, tasks[group.row.task]))]
        everything += records
        if records:
            scores = (_spread([getattr(record, name) for record in records]) for name in ("clones", "chosen", "best"))
            lines.append([str(group.row), str(group.column), *_shares(records), *scores])
    if not lines:
        return None
    if len(lines) > 1:
        lines.append(["all", "", *_shares(everything), "", "", ""])
    header = ["task", "method", "queries", "sign told", f"or change within {MARGIN:.0%}", "clones", "chosen", "best on the way"]
    return _markdown(header, lines, names=2)


def _gate_record(result: Result, task: Task) -> GateRecord | None:
    try:
        return gate_record(result.content, task)
    except ValueError as error:
        raise TableError(f"the result with the key {show(result.key)}: {error}") from None


def _shares(records: Sequence[GateRecord]) -> list[str]:
    """How many queries there were, and the shares that were told rightly."""
    queries, agreed, within = (sum(getattr(record, name) for record in records) for name in ("queries", "agreed", "agreed_within"))
    return [str(queries), *(f"{count / queries:.0%}" if queries else NOTHING for count in (agreed, within))]


def _data_table(groups: Groups) -> str:
    lines: dict[tuple[Row, str], list[str]] = {}
    learnt = (group for group in groups if group.column.method != FROM_NOTHING)
    for row, data in ((group.row, result.content["data"]) for group in learnt for result in groups[group]):
        lines.setdefault((row, data["sha256"]), [str(row), data["source"], f"{data['steps']:,}", data["sha256"][:12]])
    return _markdown(["task", "source", "steps", "sha256"], lines.values(), names=2)


def _legend(groups: Groups) -> str:
    lines = [
        "- Measured: mean ± standard deviation (n - 1) over seeds of D4RL's normalised score, the number of seeds in brackets; "
        "the method's preset behind its name; best of a row in bold.",
        "- *In italics*: not measured but quoted from Tables 1 and 2 of the paper, on D4RL's data.",
        f"- {NOTHING}: not measured. The command, revision and versions behind each measured number are in its result file.",
    ]
    if any(group.row.made_locally for group in groups):
        lines.append(f"- {LOCAL}: on data that were made locally, not D4RL's: the quoted scores beside it are of other data.")
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


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]], names: int = 1) -> str:
    """A table whose first `names` columns are left-aligned and the others, of numbers, right-aligned."""
    rows = [header, ["---"] * names + ["---:"] * (len(header) - names), *lines]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows)


def _paint(axes: Any, panels: Mapping[tuple[str, Row], Mapping[Column, Sequence[Curve]]]) -> None:
    columns = sorted({column for lines in panels.values() for column in lines}, key=Column.order)
    for axis, panel in itertools.zip_longest(axes.flat, panels):
        if panel is None:
            axis.set_visible(False)
            continue
        for column, curves in panels[panel].items():
            steps, mean, deviation = _band(curves)
            axis.plot(steps, mean, ".-", color=f"C{columns.index(column)}", label=str(column))
            axis.fill_between(steps, mean - deviation, mean + deviation, color=f"C{columns.index(column)}", alpha=0.2, linewidth=0)
        axis.set(title=f"{panel[0]}: {panel[1]}", xlabel=STEPS[panel[0]], ylabel="normalised score")
        axis.legend()


def _band(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Steps, mean and standard deviation (n - 1; 0 for one curve) where all curves are known, in straight lines between their points."""
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = np.unique([step for curve in curves for step, _ in curve if low <= step <= high])
    scores = np.stack([np.interp(steps, *np.transpose(curve)) for curve in curves])
    return steps, scores.mean(axis=0), scores.std(axis=0, ddof=min(1, len(curves) - 1))
