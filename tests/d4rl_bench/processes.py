"""A look at the processes that a test has started."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def children(pid: int, folder: Path) -> list[int]:
    """Workers that `pid` started on that folder."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == pid and bytes(folder) in _command(path)]


def runs(pid: int) -> bool:
    """Whether that process has not ended."""
    return bool(_command(Path(f"/proc/{pid}")))  # one that has ended and not been waited for has an empty command


def ends_with_its_parent(program: str, begun: bytes, folder: Path, root: Path) -> None:
    """Run a Python program on `folder` until it prints the line `begun`, kill it, and wait for the one worker that it had started."""
    with subprocess.Popen([sys.executable, "-c", program, folder], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == begun
        (worker,) = children(parent.pid, folder)
        parent.kill()
    until(lambda: not runs(worker))


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, 20 s at most."""
    ends_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(path: Path) -> bytes:
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""
