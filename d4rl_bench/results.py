"""What the benchmark measured: gathered from sweeps into small files, read back and checked.

Gathered results lie in `<phase>/<task>.json`, each a list of results: `{"phase", "task", "method", "seed", "preset", "overrides", "key",
"score", "return", "curve": [[step, score], ...], "data": {"sha256", "source", "steps", "made_locally"}, "seconds", "revision", "command",
"versions"}` and what else a job had to say; what starts from nothing has no data. Scores are D4RL's: 0 is a random policy, 100 an expert.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from common.errors import QuadloopError
from common.files import read_json, write_json
from common.typed_values import WrongTypeError, as_type, describe, show
from d4rl_bench.source import MINARI
from d4rl_bench.sweep import RESULT
from d4rl_bench.task import EARLY_STEPS, FROM_NOTHING, all_tasks, first_of_world

CURVE_POINTS = 40
LATE_STEPS = 50_000
REVISION_DIGITS = 12
QUOTED = ("BC", "IQL", "TD3+BC", "Uni-O4")
"""Methods whose scores are quoted from the paper, by the paper's names."""
LOCAL, OF_MINARI = "†", "§"
"""Mark data that were made locally, and Minari's: neither are D4RL's."""
SHA256_DIGITS = 12
"""Of a data set's hash where it is shown."""

_KINDS: dict[str, Any] = {
    "phase": Literal["offline", "online"], "task": str, "method": str, "seed": int, "preset": str, "key": str, "score": float,
    "curve": tuple[tuple[float, float], ...],
}  # fmt: skip
_DATA_KINDS: dict[str, Any] = {"sha256": str, "source": str, "steps": int, "made_locally": bool}

Curve = tuple[tuple[float, float], ...]
"""(step, score) pairs, steps rising."""


class ResultsError(QuadloopError):
    """Results that cannot be read, or of which two claim one place."""


class Row(NamedTuple):
    """A task and the data that were learnt from. Data made locally count as one, whatever their seed: the recipe is the same. What starts
    from nothing has the first task of its world, without data."""

    task: str
    sha256: str = ""
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.task} {self.mark}".strip()


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
    def place(self) -> tuple[Group, int]:
        """Of which the tables take one result."""
        return self.group, self.seed

    def __str__(self) -> str:
        """The place in words."""
        return ", ".join([str(self.group.row), str(self.group.column), *filter(None, [self.group.ablation]), f"seed {self.seed}"])

    def order(self) -> tuple[Any, ...]:
        """Sorts by task, data, method, preset, ablation and seed; what starts from nothing behind all others."""
        group, row = self.group, self.group.row
        learnt = group.phase, group.column.method == FROM_NOTHING, list(all_tasks()).index(row.task), row.mark, row.sha256
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

    If two results of the same group and seed have different keys, the one that was finished last is kept and the other is named on standard
    error; a result that does not say when it was finished replaces none in `into`. Curves are thinned to about CURVE_POINTS. ResultsError
    for damaged files.
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


def read_results(folders: Sequence[Path]) -> list[Result]:
    """All results in the files *.json below `folders`, in the table's order; ResultsError if one is bad or two of them collide."""
    by_key: dict[str, Result] = {}
    for path in sorted(path for folder in folders for path in _json_files(folder)):
        for result in read_file(path):
            if by_key.setdefault(result.key, result).content != result.content:
                raise ResultsError(f"{path}: another file has another result with the key {show(result.key)}; remove one of them")
    results = sorted(by_key.values(), key=Result.order)
    for one, other in itertools.pairwise(results):
        if one.place == other.place:
            keys = " and ".join(f"{show(result.key)} in {result.path}" for result in (one, other))
            raise ResultsError(f"there are two {one.group.phase} results of {one}, keys {keys}; remove the one that is out of date")
    return results


def read_file(path: Path) -> list[Result]:
    """The results in one gathered file; ResultsError says what is wrong with it."""
    content = _read(path)
    if not isinstance(content, list):
        raise ResultsError(f"{path}: not a list of results")
    return [_result(item, path, f", result {index}") for index, item in enumerate(content)]


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


def _with_thin_curve(result: Result) -> dict[str, Any]:
    ends = (EARLY_STEPS, LATE_STEPS) if result.group.phase == "online" else (0, 0)
    return result.content | {"curve": thinned(result.content["curve"], *ends)}


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ResultsError(f"{folder} is no folder of results; run quadloop d4rl offline first, or name another with --results")
    return list(folder.rglob("*.json"))


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: not a readable JSON file ({' '.join(str(error).split())})") from None


def _result(content: Any, path: Path, where: str = "") -> Result:
    """A result from a file; `where` in it is said in the ResultsError."""
    place = f"{path}{where}"
    values = _values(content, _KINDS, place)
    overrides = content.get("overrides")
    if not isinstance(overrides, dict):
        raise ResultsError(f"{place}: overrides must be a mapping, not {show(overrides)}")
    if values["task"] not in all_tasks():
        raise ResultsError(f"{place}: there is no task {show(values['task'])}")
    if values["seed"] < 0:
        raise ResultsError(f"{place}: seed is {show(values['seed'])}; it must be 0 or more")
    if any(later <= earlier for (earlier, _), (later, _) in itertools.pairwise(values["curve"])):
        raise ResultsError(f"{place}: the steps of its curve do not rise")
    row = _row(values, content, place)
    ablation = json.dumps(overrides, sort_keys=True) if overrides else ""
    group = Group(values["phase"], row, Column(values["method"], values["preset"]), ablation)
    return Result(path, group, values["seed"], values["key"], values["score"], values["curve"], content)


def _row(values: Mapping[str, Any], content: Mapping[str, Any], place: str) -> Row:
    if values["method"] == FROM_NOTHING:
        return Row(first_of_world(values["task"]).name)
    data = _values(content.get("data"), _DATA_KINDS, f"{place}: data")
    if data["made_locally"]:
        return Row(values["task"], mark=LOCAL)
    return Row(values["task"], data["sha256"], OF_MINARI if data["source"].startswith(MINARI) else "")


def _values(content: Any, kinds: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The values in `content` of the names and types in `kinds`; texts must not be empty."""
    if not isinstance(content, dict):
        raise ResultsError(f"{place}: not a mapping")
    values = {}
    for name, kind in kinds.items():
        if name not in content:
            raise ResultsError(f"{place}: no '{name}'")
        try:
            values[name] = as_type(kind, content[name])
        except WrongTypeError:
            raise ResultsError(f"{place}: {name} must be {describe(kind)}, not {show(content[name])}") from None
        if values[name] == "":
            raise ResultsError(f"{place}: {name} is empty")
    return values


def grouped(results: Iterable[Result]) -> dict[Group, Sequence[Result]]:
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
