"""`quadloop inject`: what a robot does when something goes wrong, rehearsed on the twin."""

from __future__ import annotations

import difflib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common.command_line import Arguments, parse
from common.errors import UsageError
from common.progress import Progress
from common.result import emit, print_table
from loop.inject.faults import FAULTS
from loop.inject.rehearsal import Outcome, Rehearsal
from robot.log.directory import new_log_directory
from robot.policy.artifact import load_artifact
from twin.world import find_world

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class InjectArguments(Arguments):
    """Rehearse a fault on the twin, in real time, through the processes that run on a robot; exit status 1 if it reacts wrongly."""

    fault: tyro.conf.Positional[str] = ""
    """what goes wrong, or all; --list names them"""
    list: bool = False
    """name the faults, one a line"""
    policy: Path | None = None
    """the policy that walks at 0.5 m/s; without one the robot stands under power"""
    terrain: str = "flat"
    """what the twin stands on: flat, mattress, or a YAML file"""
    out: Path | None = None
    """a new directory for the logs of the walks; without it none is kept"""
    seed: int = 0
    """draws the twin's delays and pushes"""


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    wanted = parse("inject", InjectArguments, arguments)
    if wanted.list:
        _list(wanted.json)
        return 0
    names = _names(wanted.fault)
    _check(wanted)
    began = time.monotonic()
    outcomes = _rehearse(names, wanted)
    return tell(outcomes, wanted.fault, time.monotonic() - began, wanted.json)


def tell(outcomes: Sequence[Outcome], fault: str, seconds: float, as_json: bool) -> int:
    """Print what came of `fault`, or of all that were rehearsed in `seconds`; returns the exit status."""
    results = {outcome.fault: outcome.result() for outcome in outcomes}
    if fault != ALL:
        emit(results[fault], as_json)
    elif as_json:
        emit({"faults": results, "seconds": seconds}, as_json=True)
    else:
        _print(results)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _list(as_json: bool) -> None:
    if as_json:
        emit({"faults": {name: fault.what for name, fault in FAULTS.items()}}, as_json=True)
        return
    width = max(map(len, FAULTS))
    for name, fault in FAULTS.items():
        print(f"{name:{width}}  {fault.what}: {fault.expected.value}")


def _names(fault: str) -> Sequence[str]:
    if fault == ALL:
        return tuple(FAULTS)
    if fault in FAULTS:
        return (fault,)
    if not fault:
        raise UsageError("which fault? quadloop inject --list names them; all rehearses every one")
    near = difflib.get_close_matches(fault, FAULTS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "quadloop inject --list names them"
    raise UsageError(f"there is no fault '{fault}'; {hint}")


def _check(wanted: InjectArguments) -> None:
    """What would fail in another process is refused here, on one line."""
    find_world(wanted.terrain)
    if wanted.policy is not None:
        load_artifact(wanted.policy)


def _rehearse(names: Sequence[str], wanted: InjectArguments) -> Sequence[Outcome]:
    outcomes = []
    logs = tempfile.TemporaryDirectory() if wanted.out is None else new_log_directory(wanted.out, "--out")
    with logs as directory, Progress("inject", len(names), "faults") as progress:
        with Rehearsal(wanted.policy, wanted.terrain, wanted.seed, Path(directory)) as rehearsal:
            for name in names:
                outcomes.append(rehearsal.run(name))
                progress.advance()
    return outcomes


def _print(results: Mapping[str, Mapping[str, Any]]) -> None:
    rows = []
    for name, result in results.items():
        after = "-" if result["reaction_ms"] is None else f"{result['reaction_ms']:.0f}"
        verdict = "yes" if result["ok"] else f"NO: {'; '.join(result['wrong'])}"
        rows.append((name, result["what"], result["happened"], after, f"{result['bound_ms']:.0f}", verdict))
    print_table(("fault", "what happens", "the robot", "after, ms", "at most, ms", "ok"), rows)
