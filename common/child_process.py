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
_LAST_BYTES = 65536  # of what a child said, among which its last line is


def start_module(
    module: str, arguments: Sequence[Any], files: Sequence[int] = (), *,
    orders: Stream = subprocess.DEVNULL, output: Stream = subprocess.DEVNULL, complaints: Stream | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """`python -m module arguments`, which inherits the descriptors `files`. If not given, it is told nothing, its output is lost and its
    complaints are ours.

    It runs where this code is, whatever lies in the user's directory, finds the modules that this process finds, and has a session
    of its own, so that a Ctrl-C at the terminal does not reach it.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], env=os.environ | {"PYTHONPATH": _module_path()}, cwd=_ROOT,
        pass_fds=tuple(files), stdin=orders, stdout=output, stderr=complaints, start_new_session=True,
    )  # fmt: skip


def last_line(said: IO[bytes]) -> str:
    """The last line that children printed to the file `said`, "" if there is none. The place where they go on printing stays."""
    end = os.fstat(said.fileno()).st_size
    text = os.pread(said.fileno(), _LAST_BYTES, max(0, end - _LAST_BYTES))
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def keep_small(said: IO[bytes]) -> None:
    """Empty the file `said` when children have printed more to it than anybody reads; they go on from its beginning."""
    if os.fstat(said.fileno()).st_size > _LAST_BYTES:
        os.ftruncate(said.fileno(), 0)
        os.lseek(said.fileno(), 0, os.SEEK_SET)  # theirs too: they inherited this very description


def _module_path() -> str:
    """This code and the user's PYTHONPATH, whose entries count from the user's directory, where the child does not run."""
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(_ROOT), *(str(Path(entry).absolute()) for entry in entries)])
