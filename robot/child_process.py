"""Processes of this code beside the control process, each a module that is run: the one way to start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

Stream = IO[bytes] | int
"""An open file, or subprocess.PIPE or DEVNULL."""

_ROOT = Path(__file__).resolve().parents[1]


def start_module(
    module: str, arguments: Sequence[Any], files: Sequence[int] = (), *,
    orders: Stream = subprocess.DEVNULL, output: Stream = subprocess.DEVNULL, complaints: Stream | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """`python -m module arguments`, which inherits the descriptors `files`. If not given, it is told nothing, its output is lost and its
    complaints are ours.

    It runs where this code is, whatever lies in the user's directory, finds the modules that this process finds, and has a session
    of its own, so that a Ctrl-C at the terminal does not reach it.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], env=os.environ | {"PYTHONPATH": path}, cwd=_ROOT, pass_fds=tuple(files),
        stdin=orders, stdout=output, stderr=complaints, start_new_session=True,
    )  # fmt: skip
