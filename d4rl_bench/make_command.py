"""`quadloop d4rl data make`: data sets after D4RL's recipe."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.command_line import Settings, parse
from common.metrics import Metrics
from common.reporter import Reporter
from common.result import emit
from d4rl_bench.command import DATA
from d4rl_bench.make_data import TRAINING, MakeConfig, make_data

COMMON_ARITHMETIC = {
    "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Environment variables with which MKL, PyTorch, oneDNN and NumPy's OpenBLAS sum in the same order on every x86 processor with AVX2: an
agent's steps are chaotic, and a last digit that differs makes other data. They are read when the libraries are loaded, so the command
begins itself again with them."""


@dataclass(frozen=True, kw_only=True)
class MakeArguments:
    """Make the medium, medium-replay and medium-expert data of an environment, with our own PPO."""

    environment: Annotated[Literal["hopper", "walker2d", "halfcheetah"], tyro.conf.Positional]
    """which one"""
    out: Path = Path(DATA)
    """directory for the files"""
    seed: int = 0
    """seed of all random numbers"""
    force: bool = False
    """overwrite what is there"""
    json: bool = False
    """print one JSON object and nothing else"""
    config: Settings[MakeConfig] = field(default_factory=MakeConfig)


def run(arguments: list[str]) -> int:
    """The verb. It replaces the process: for the command line alone; in a program call `make_data`."""
    wanted = parse("d4rl data make", MakeArguments, arguments)
    if any(os.environ.get(name) != value for name, value in COMMON_ARITHMETIC.items()):
        again = [sys.executable, "-m", "quadloop", "d4rl", "data", "make", *arguments]
        os.execve(sys.executable, again, os.environ | COMMON_ARITHMETIC)  # noqa: S606  this same command
    metrics = Metrics(wanted.out / TRAINING / wanted.environment)
    with Reporter(metrics) as report:
        record = make_data(wanted.environment, wanted.out, wanted.config, wanted.seed, report, wanted.force)
    metrics.close()
    emit({name: value for name, value in record.items() if name != "curve"}, wanted.json)
    return 0
