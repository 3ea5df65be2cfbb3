"""`quadloop loop`: pretrain, collect, fine-tune offline, fine-tune online, measure; stage by stage, resumable."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from common.command_line import RunArguments, Settings, parse
from common.files import write_json
from common.reporter import Reporter
from common.result import emit, print_table
from common.run_directory import RunDirectory
from loop.config import PRESETS, LoopConfig
from loop.report import falls_on_the_way, table_rows, write_report
from loop.stages import STAGES, WALKING_STAGES, Context
from twin.world import World, files_of_world, find_world


@dataclass(frozen=True, kw_only=True)
class LoopArguments(RunArguments):
    """The whole loop on the twin; ends with a report in OUT/report/index.html."""

    config: Settings[LoopConfig] = field(default_factory=LoopConfig)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("loop", LoopArguments, arguments, PRESETS)
    world = find_world(wanted.config.terrain)  # before anything is written
    inputs = {"seed": wanted.seed, "terrain": world}
    sources = files_of_world(wanted.config.terrain)
    run_directory = RunDirectory(wanted.out, wanted.config, inputs=inputs, sources=sources, resume=wanted.resume, force=wanted.force)
    with run_directory as directory:
        result = _run_loop(wanted, world, directory)
    if wanted.json:
        emit(result, as_json=True)
    else:
        _print_table(result)
    return 0


def _run_loop(wanted: LoopArguments, world: World, directory: RunDirectory[LoopConfig]) -> dict[str, Any]:
    """All stages and the page; returns the result."""
    page = wanted.out / "report" / "index.html"
    with Reporter(directory.metrics) as report:
        finished = page.exists() and all(directory.stage_result(name) for name in STAGES)
        done = _run_stages(directory, Context(wanted.out, wanted.config, wanted.seed, report, world))
    result = {
        "stages": done["measure"]["result"],
        "on_the_way": {name: {key: done[name]["result"][key] for key in ("steps", "falls")} for name in WALKING_STAGES},
        "seconds": {name: stage["seconds"] for name, stage in done.items()},
        "report": str(page),
    }
    write_json(wanted.out / "result.json", result)
    for note in [] if finished else write_report(wanted.out, wanted.config, world, result):
        print(note, file=sys.stderr)
    return result


def _run_stages(directory: RunDirectory[LoopConfig], context: Context) -> dict[str, dict[str, Any]]:
    """Run what is not done yet; returns the `result` of each stage and how many `seconds` it took."""
    return {name: directory.stage_result(name) or _run_stage(directory, context, name) for name in STAGES}


def _run_stage(directory: RunDirectory[LoopConfig], context: Context, name: str) -> dict[str, Any]:
    began = time.monotonic()
    result = STAGES[name](context)
    done = {"result": result, "seconds": time.monotonic() - began}
    directory.mark_stage_done(name, done)
    return done


def _print_table(result: dict[str, Any]) -> None:
    header, *rows = table_rows(result["stages"])
    print_table(header, rows)
    print(falls_on_the_way(result))
    print(f"report: {result['report']}")
