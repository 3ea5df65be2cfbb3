"""Which code made a file."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"


@cache
def git_revision() -> str:
    """The git revision of this code, 40 hex digits, with "-dirty" behind it if tracked files were changed; "unknown" outside git."""
    return revision_of(Path(__file__).resolve())


def revision_of(file: Path) -> str:
    """The revision of the repository that tracks `file`; a copy installed inside someone else's repository is "unknown"."""
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return UNKNOWN
    return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or UNKNOWN


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says, or None if it fails or is not there."""
    try:
        answer = subprocess.run(["git", "-C", directory, *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
