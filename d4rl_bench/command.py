"""`quadloop d4rl`: the benchmark's tasks, their data, runs offline and online, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from common.checks import at_least, between, require
from common.command_line import MAX_SEED, Arguments, parse
from common.errors import ConfigError, UsageError
from common.result import emit
from d4rl_bench.places import CELLS, DATA
from d4rl_bench.task import FROM_NOTHING, all_tasks, find_task, first_of_world

if TYPE_CHECKING:
    from d4rl_bench.engines import Engine
    from d4rl_bench.job import Job

Preset = Literal["smoke", "minutes", "paper"]
Cell = tuple[str, str, int]
"""Task, method, seed."""


def run(arguments: list[str]) -> int:
    """The verb: hands over to one of its own verbs."""
    verbs = {"list": _list, "data": _data, "offline": _offline, "online": _online, "table": _table}
    return _verb("d4rl", verbs, arguments)


def _verb(name: str, verbs: Mapping[str, Callable[[list[str]], int]], arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: quadloop {name} {'|'.join(verbs)} [OPTIONS]\n\nquadloop {name} {next(iter(verbs))} --help explains one.")
        return 0 if arguments else UsageError.exit_status
    if arguments[0] not in verbs:
        raise UsageError(f"quadloop {name} has no '{arguments[0]}'; it has {', '.join(verbs)}")
    return verbs[arguments[0]](arguments[1:])


@dataclass(frozen=True)
class ListArguments:
    """Name the tasks, one a line."""

    json: bool = False
    """print one JSON object: reference returns, protocol, and the paper's scores"""


def _list(arguments: list[str]) -> int:
    wanted = parse("d4rl list", ListArguments, arguments)
    if wanted.json:
        emit({name: {f.name: getattr(task, f.name) for f in fields(task)} for name, task in all_tasks().items()}, True)
    else:
        print("\n".join(all_tasks()))
    return 0


def _data(arguments: list[str]) -> int:
    return _verb("d4rl data", {"make": _make, "download": _download, "show": _show}, arguments)


@dataclass(frozen=True, kw_only=True)
class DownloadArguments(Arguments):
    """Fetch D4RL's data of a task; goes on with what an interrupted download left."""

    task: Annotated[str, tyro.conf.Positional]
    """name of the task"""
    out: Path = Path(DATA)
    """directory for the file"""
    sha256: str | None = None
    """what the file must hash to"""


def _download(arguments: list[str]) -> int:
    from common.files import sha256_of_file
    from d4rl_bench.download import download

    wanted = parse("d4rl data download", DownloadArguments, arguments)
    path = download(find_task(wanted.task), wanted.out, sha256=wanted.sha256)
    emit({"file": path, "sha256": sha256_of_file(path)}, wanted.json)
    return 0


@dataclass(frozen=True, kw_only=True)
class ShowArguments(Arguments):
    """Say what is in a data set: rows, steps (rows whose successor is known), episodes, scores."""

    task: Annotated[str, tyro.conf.Positional]
    """name of the task"""
    data: str = DATA
    """a file, a directory that holds TASK.hdf5, or minari:NAME"""


def _show(arguments: list[str]) -> int:
    from d4rl_bench.d4rl_file import returns_of_episodes
    from d4rl_bench.source import load

    wanted = parse("d4rl data show", ShowArguments, arguments)
    task = find_task(wanted.task)
    loaded = load(task, wanted.data)
    data, returns = loaded.transitions, returns_of_episodes(loaded.transitions)
    extremes = {"mean": returns.mean(), "best": returns.max(), "worst": returns.min()}
    shown = {
        "task": task.name, "source": loaded.source, "sha256": loaded.sha256, "made_locally": loaded.made_locally,
        "rows": loaded.rows, "rows_without_successor_left_out": loaded.rows - len(data),
        "steps": len(data), "episodes": len(returns), "terminated": int(data.terminated.sum()), "truncated": int(data.truncated.sum()),
        "score": {name: task.score(float(value)) for name, value in extremes.items()},
    }  # fmt: skip
    emit(shown, wanted.json)
    return 0


def _make(arguments: list[str]) -> int:
    from d4rl_bench.make_command import run

    return run(arguments)


@dataclass(frozen=True, kw_only=True)
class SweepArguments(Arguments):
    """Base of the arguments of both phases: every task with every method and every seed is a cell, done once and resumed."""

    tasks: tuple[str, ...]
    """names of tasks, or "locomotion", "adroit" and so on for all of a family"""
    methods: tuple[str, ...]
    """what is run"""
    seeds: tuple[int, ...] = (0,)
    """one cell each"""
    preset: Preset = "minutes"
    """settings: for a test, for minutes on two cores, or the paper's"""
    set: tuple[str, ...] = ()
    """settings that differ from the preset's, as name=value: an ablation"""
    data: str = DATA
    """a file, a directory that holds TASK.hdf5, or minari:NAME"""
    out: Path = CELLS
    """directory of the cells"""
    workers: int = 2
    """cells at once, a core each"""
    engine: Literal["local", "ray"] = "local"
    """processes on this computer, or a Ray cluster"""
    address: str | None = None
    """of the Ray cluster; none starts one on this computer"""

    def __post_init__(self) -> None:
        for name in ("tasks", "methods", "seeds"):
            if not getattr(self, name):
                raise UsageError(f"--{name} takes at least one value")
        require(self, at_least(1), "workers")
        require(self, between(0, MAX_SEED), "seeds")
        if self.address and self.engine == "local":
            raise UsageError("--address is of a Ray cluster; add --engine ray")

    def chosen_tasks(self) -> list[str]:
        """Full names of the tasks that are asked for; TaskError for what is neither a task nor a family."""
        names = [[task.name for task in all_tasks().values() if task.family == name] or [find_task(name).name] for name in self.tasks]
        return list(dict.fromkeys(name for group in names for name in group))

    def cells(self) -> list[Cell]:
        """What is asked for, each once: what starts from nothing does so under the first task of its world. UsageError for the data of one
        task where there are several."""
        from d4rl_bench.source import is_of_one_task

        tasks = self.chosen_tasks()
        if len(tasks) > 1 and is_of_one_task(self.data):
            raise UsageError(f"{self.data} is the data of one task; give a directory for {len(tasks)} tasks")
        pairs = [(first_of_world(task).name if method == FROM_NOTHING else task, method) for task in tasks for method in self.methods]
        return list(dict.fromkeys((*pair, seed) for pair in pairs for seed in self.seeds))

    def overrides(self) -> dict[str, Any]:
        """`set` as dotted names and values of JSON (or bare words); UsageError for what is no name=value."""
        pairs = [pair.partition("=") for pair in self.set]
        for name, equals, _ in pairs:
            if not (name and equals):
                raise UsageError(f"--set takes name=value, such as uni_o4.members=1, not '{name}{equals}'")
        names = [name for name, _, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"--set gives {twice} twice")
        return {name: _value(text) for name, _, text in pairs}


@dataclass(frozen=True, kw_only=True)
class OfflineArguments(SweepArguments):
    """Learn from data alone, and measure the policy in its environment by the paper's protocol."""

    tasks: tuple[str, ...] = ("locomotion",)
    methods: tuple[str, ...] = ("uni-o4",)
    """uni-o4, bc, iql, td3+bc, cql, awac or cal-ql"""


@dataclass(frozen=True, kw_only=True)
class OnlineArguments(SweepArguments):
    """Fine-tune in the environment what the offline phase left: PPO from Uni-O4, IQL from IQL, and PPO from nothing beside them."""

    tasks: tuple[str, ...] = ("locomotion",)
    methods: tuple[str, ...] = ("uni-o4", "iql", "scratch")
    """what it starts from: uni-o4, iql, awac, cal-ql, or scratch (nothing)"""


def _offline(arguments: list[str]) -> int:
    return _sweep(parse("d4rl offline", OfflineArguments, arguments), "offline")


def _online(arguments: list[str]) -> int:
    return _sweep(parse("d4rl online", OnlineArguments, arguments), "online")


def _sweep(wanted: SweepArguments, phase: str) -> int:
    """The cells that are asked for; online, the offline cells that they start from first, unless they are there.

    Where one fails, or such a start, the others go on without it; they are shown, and what went wrong is said in the end.
    """
    from d4rl_bench.engines import LocalEngine, RayEngine
    from d4rl_bench.job import Job
    from d4rl_bench.sweep import SweepError

    engine = LocalEngine(wanted.workers) if wanted.engine == "local" else RayEngine(wanted.workers, wanted.address)
    cells, overrides = wanted.cells(), wanted.overrides()
    _check([Job(phase, *cell, wanted.preset, overrides) for cell in cells])  # before hours of work
    starts, lost = _starts(wanted, cells, engine) if phase == "online" else ({}, "")
    begun = [cell for cell in cells if phase == "offline" or cell[1] == FROM_NOTHING or cell in starts]
    jobs = [Job(phase, *cell, wanted.preset, overrides, wanted.data, starts.get(cell, "")) for cell in begun]
    finished, failed = _finished(jobs, wanted.out, engine)
    _name_as_asked(finished, wanted.out)
    _show_cells({job.name(): {name: result[name] for name in _SHOWN if name in result} for job, result in finished}, wanted.json)
    without = f"{len(cells) - len(begun)} of {len(cells)} cells have no offline run to start from: {lost}" if lost else ""
    if complaint := "; ".join(filter(None, [without, failed])):
        raise SweepError(complaint)
    return 0


def _finished(jobs: Sequence[Job], out: Path, engine: Engine) -> tuple[list[tuple[Job, dict[str, Any]]], str]:
    """The jobs that were done, each with its result, and what is to be said of those that failed."""
    from d4rl_bench.sweep import JobsFailedError, run_all

    try:
        return list(zip(jobs, run_all(jobs, out, engine), strict=True)), ""
    except JobsFailedError as error:
        return [(job, result) for job, result in zip(jobs, error.results, strict=True) if result is not None], str(error)


def _name_as_asked(finished: Sequence[tuple[Job, Mapping[str, Any]]], out: Path) -> None:
    """What other words had asked for first, settings one by one or the preset of an older version, is called as today's job calls it."""
    from common.files import write_json
    from d4rl_bench.sweep import RESULT

    for job, result in finished:
        preset, overrides = job.named()
        if (result["preset"], result["overrides"]) != (preset, overrides):
            write_json(out / job.name() / RESULT, {**result, "preset": preset, "overrides": overrides})


def _show_cells(figures: Mapping[str, Mapping[str, float]], as_json: bool) -> None:
    """The figures of each cell, named by its folder; for people a line each, which is never cut, however long the folder's name is."""
    if as_json:
        emit(figures, as_json)
        return
    for folder, of_cell in figures.items():
        print(*(f"{name} {value:8,.1f} " for name, value in of_cell.items()), folder)


def _starts(wanted: SweepArguments, cells: Sequence[Cell], engine: Engine) -> tuple[dict[Cell, str], str]:
    """The folders of the offline cells that online ones start from, run unless they are there, and what went wrong with those that lack."""
    from d4rl_bench.job import Job

    jobs = [Job("offline", *cell, preset=wanted.preset, data=wanted.data) for cell in cells if cell[1] != FROM_NOTHING]
    finished, failed = _finished(jobs, wanted.out, engine)
    return {(job.task, job.method, job.seed): str((wanted.out / job.name()).resolve()) for job, _ in finished}, failed


def _check(jobs: Sequence[Job]) -> None:
    """Whether their settings exist, and the interpreter that the baselines need."""
    from d4rl_bench.baselines import MAX_SEED as MAX_SEED_OF_BASELINES
    from d4rl_bench.baselines import METHODS
    from d4rl_bench.d3rlpy_process import find_interpreter

    _check_settings(jobs)
    if baselines := [job for job in jobs if job.method in METHODS]:
        find_interpreter()
        if (highest := max(job.seed for job in baselines)) > MAX_SEED_OF_BASELINES:
            raise UsageError(f"d3rlpy takes seeds up to {MAX_SEED_OF_BASELINES:,}, not {highest:,}")


def _check_settings(jobs: Sequence[Job]) -> None:
    """ConfigError where --set does not fit a method, which names those of the others that it fits."""
    errors: dict[str, ConfigError] = {}
    for job in jobs:
        try:
            _ = job.config
        except ConfigError as error:
            errors.setdefault(job.method, error)
    if errors:
        fitting = dict.fromkeys(job.method for job in jobs if job.method not in errors)
        advice = f"; give --methods {' '.join(fitting)}, which it fits" if fitting else ""
        method, wrong = next(iter(errors.items()))
        raise ConfigError(f"--set does not fit {method}: {wrong}{advice}")


_SHOWN = ("score", "seconds")


@dataclass(frozen=True, kw_only=True)
class TableArguments(Arguments):
    """Gather the finished cells as small files, and write the table from those files into a page."""

    cells: Path = CELLS
    """directory of the cells"""
    results: Path = Path("results/d4rl")
    """directory of the small files, one a task and phase; what is there stays, unless a cell in its place is newer"""
    page: Path = Path("docs/d4rl.md")
    """the page, a Markdown file; what is not generated stays; the learning curves go into a .png of its name beside it"""

    def __post_init__(self) -> None:
        if self.page.suffix != ".md":
            raise UsageError(f"--page takes a Markdown file, such as docs/d4rl.md, not {self.page}")


def _table(arguments: list[str]) -> int:
    from d4rl_bench.curves import plot_curves
    from d4rl_bench.results import collect
    from d4rl_bench.table import write_table

    wanted = parse("d4rl table", TableArguments, arguments)
    picture = wanted.page.with_suffix(".png")
    if picture.exists() and not wanted.page.exists():
        raise UsageError(f"{picture}, where the picture goes, exists, but {wanted.page} does not; choose another --page")
    if wanted.cells.is_dir():
        collect(wanted.cells, wanted.results)
    elif wanted.cells != CELLS:
        raise UsageError(f"{wanted.cells} is no directory; --cells takes the --out of quadloop d4rl offline and online")
    write_table(wanted.page, [wanted.results], all_tasks())
    why_not = plot_curves([wanted.results], picture)
    emit({"page": wanted.page, "picture": why_not or picture}, wanted.json)
    return 0


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
