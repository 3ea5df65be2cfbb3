"""`quadloop d4rl data make`: data sets after D4RL's recipe."""

from __future__ import annotations

import os
import sys

COMMON_ARITHMETIC = {
    "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Environment variables with which MKL, PyTorch, oneDNN and NumPy's OpenBLAS sum in the same order on every x86 processor with AVX2: an
agent's steps are chaotic, and a last digit that differs makes other data. They are read when the libraries are loaded, so the command
begins itself again with them, before it loads what takes seconds."""


def run(arguments: list[str]) -> int:
    """The verb. It replaces the process: for the command line alone; in a program call `make_data`."""
    if any(os.environ.get(name) != value for name, value in COMMON_ARITHMETIC.items()):
        again = [sys.executable, "-m", "quadloop", "d4rl", "data", "make", *arguments]
        os.execve(sys.executable, again, os.environ | COMMON_ARITHMETIC)  # noqa: S606  this same command

    from common.command_line import parse
    from common.metrics import Metrics
    from common.reporter import Reporter
    from common.result import emit
    from d4rl_bench.make_arguments import MakeArguments
    from d4rl_bench.make_data import TRAINING, make_data

    wanted = parse("d4rl data make", MakeArguments, arguments)
    metrics = Metrics(wanted.out / TRAINING / wanted.environment)
    with Reporter(metrics) as report:
        record = make_data(wanted.environment, wanted.out, wanted.config, wanted.seed, report, wanted.force)
    metrics.close()
    emit({name: value for name, value in record.items() if name != "curve"}, wanted.json)
    return 0
