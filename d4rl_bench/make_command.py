"""`quadloop d4rl data make`: data sets after D4RL's recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.command_line import Settings, parse
from common.metrics import Metrics
from common.reporter import Reporter
from common.result import emit
from d4rl_bench.command import DATA
from d4rl_bench.make_data import MakeConfig, make_data


@dataclass(frozen=True, kw_only=True)
class MakeArguments:
    """Make the medium, medium-replay and medium-expert data of an environment, with our own PPO."""

    environment: Annotated[Literal["hopper", "walker2d", "halfcheetah"], tyro.conf.Positional]
    """which one"""
    out: Path = Path(DATA)
    """directory for the files"""
    seed: int = 0
    """draws everything that is random"""
    force: bool = False
    """overwrite what is there"""
    json: bool = False
    """print one JSON object and nothing else"""
    config: Settings[MakeConfig] = field(default_factory=MakeConfig)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("d4rl data make", MakeArguments, arguments)
    metrics = Metrics(wanted.out / "training" / wanted.environment)
    with Reporter(metrics) as report:
        record = make_data(wanted.environment, wanted.out, wanted.config, wanted.seed, report, wanted.force)
    metrics.close()
    emit({name: value for name, value in record.items() if name != "curve"}, wanted.json)
    return 0
