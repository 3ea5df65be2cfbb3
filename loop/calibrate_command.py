"""`quadloop calibrate`: a twin that behaves like the robot in the logs, as a YAML file for every `--terrain`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from common.command_line import Arguments, parse
from common.config import to_yaml
from common.files import refuse_to_fill, write_bytes, write_json
from common.result import emit
from loop.calibrate_report import PICTURE, write_report
from loop.calibration import Calibration, CalibrationConfig, calibrate
from offline_finetune.dataset import of_one_kind
from offline_finetune.readable_log import logs_below, read_log
from robot.log.episode import Episode
from robot.log.episode_log import EpisodeLogError
from robot.policy.artifact import load_by_name

WORLD, RESULT = "world.yaml", "calibration.json"
BRIEF = ("world", "motors", "floor", "prediction", "seconds", "report")  # what people are told; the page has the rest
FILES = (WORLD, RESULT, PICTURE, "index.html")


@dataclass(frozen=True, kw_only=True)
class CalibrateArguments(Arguments):
    """Fit the twin's motors and floor to a directory of logs; writes world.yaml, calibration.json and index.html."""

    logs: tyro.conf.Positional[Path]
    """directory of episode logs or released recordings"""
    out: Path
    """directory for the fitted twin and its evidence"""
    policies: tuple[Path, ...] = ()
    """policy artifacts that drove the robot; without them the floor cannot be fitted and stays hard"""
    name: str = "calibrated"
    """what the fitted twin is called"""
    settings: CalibrationConfig = field(default_factory=CalibrationConfig)
    """how much is used, how long is searched"""
    seed: int = 0
    """draws floors to try, starts, noise and pushes"""
    force: bool = False
    """overwrite what is there"""


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("calibrate", CalibrateArguments, arguments)
    refuse_to_fill(wanted.out, FILES, wanted.force)
    policies = load_by_name(wanted.policies)
    episodes = _episodes(wanted.logs)
    began = time.monotonic()
    found = calibrate(episodes, policies, wanted.settings, wanted.seed, wanted.name)
    result = found.result | {"logs": str(wanted.logs), "episodes": len(episodes), "seed": wanted.seed, "seconds": time.monotonic() - began}
    said = _write(wanted, found, result)
    emit(said if wanted.json else {name: said[name] for name in BRIEF if name in said}, wanted.json)
    return 0


def _episodes(logs: Path) -> list[Episode]:
    """Of a robot that walked, all of one kind, simulated or real, and each once. Of an unfinished log there may be too little to read."""
    found: list[tuple[Path, Episode]] = []
    for path in logs_below(logs):
        try:
            found += [(path, episode) for episode in read_log(path, logs)]
        except EpisodeLogError as error:
            if path.suffix != ".part" or path == logs:
                raise
            print(f"left out: {error}", file=sys.stderr)
    return [episode for _, episode in of_one_kind(found)]


def _write(wanted: CalibrateArguments, found: Calibration, result: dict[str, Any]) -> dict[str, Any]:
    wanted.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (wanted.out / name).unlink(missing_ok=True)
    write_bytes(wanted.out / WORLD, to_yaml(found.world).encode())
    page = write_report(wanted.out, result)
    write_json(wanted.out / RESULT, result)  # last: where it is, the others are
    return {"world": str(wanted.out / WORLD)} | result | {"report": str(page)}
