"""`quadloop export`: episode logs for other people's learners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from common.command_line import Arguments, parse
from common.errors import UsageError
from common.files import refuse_to_overwrite
from common.result import emit
from offline_finetune.export import export_d4rl, export_minari, put_back
from robot.log.episode_log import EpisodeLogError, list_episodes

Format = Literal["d4rl", "minari"]
FORMATS: dict[Format, Callable[[Sequence[Path], Path], dict[str, int]]] = {"d4rl": export_d4rl, "minari": export_minari}


@dataclass(frozen=True, kw_only=True)
class ExportArguments(Arguments):
    """Write episode logs as one HDF5 file with D4RL's keys, or as a Minari dataset."""

    logs: tyro.conf.Positional[Path]
    """directory of episode logs"""
    out: Path
    """the file (d4rl) or a new directory (minari)"""
    format: Format = "d4rl"
    """d4rl: usable steps, flat; minari: whole episodes"""
    force: bool = False
    """overwrite what is there"""


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("export", ExportArguments, arguments)
    if wanted.format == "minari":
        put_back(wanted.out)  # what is to be overwritten may only have been moved aside
    refuse_to_overwrite(wanted.out, wanted.force)
    if wanted.format == "d4rl" and wanted.out.is_dir():
        raise UsageError(f"{wanted.out} is a directory; format d4rl writes a file")
    if wanted.out.resolve().is_relative_to(wanted.logs.resolve()):
        raise UsageError(f"{wanted.out} lies among the logs; what is there is taken for a log")
    logs = list_episodes(wanted.logs, unfinished=True)
    if not logs:
        raise EpisodeLogError(f"{wanted.logs}: no episode log (.hdf5) in this folder or below")
    emit({"out": wanted.out, "format": wanted.format} | FORMATS[wanted.format](logs, wanted.out), wanted.json)
    return 0
