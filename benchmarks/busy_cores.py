"""Cores that are kept busy while something is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

BUSY = "while True: sum(range(10000))"


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that do nothing but count."""
    with ExitStack() as closing:
        for _ in range(count):
            busy = subprocess.Popen([sys.executable, "-c", BUSY])
            closing.callback(busy.wait)
            closing.callback(busy.kill)
        yield
