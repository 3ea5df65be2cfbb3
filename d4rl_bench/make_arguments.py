"""The arguments of `quadloop d4rl data make`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.command_line import Arguments, Settings
from d4rl_bench.make_data import MakeConfig
from d4rl_bench.places import DATA


@dataclass(frozen=True, kw_only=True)
class MakeArguments(Arguments):
    """Make the medium, medium-replay and medium-expert data of an environment, with our own PPO."""

    environment: Annotated[Literal["hopper", "walker2d", "halfcheetah"], tyro.conf.Positional]
    """which one"""
    out: Path = Path(DATA)
    """directory for the files"""
    seed: int = 0
    """seed of all random numbers"""
    force: bool = False
    """overwrite what is there"""
    config: Settings[MakeConfig] = field(default_factory=MakeConfig)
