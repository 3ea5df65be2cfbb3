"""What the files released with Uni-O4 have in common: they come from outside and are checked before anything is believed."""

from __future__ import annotations

from pathlib import Path

from common.errors import QuadloopError


class ReleasedFileError(QuadloopError):
    """A file released with Uni-O4 that cannot be used. The message names the file and what is wrong with it."""


def check_size(path: Path, max_bytes: int) -> None:
    """Raise ReleasedFileError unless `path` is a regular file of at most `max_bytes`."""
    if not path.is_file():
        raise ReleasedFileError(f"{path}: no such file")
    size = path.stat().st_size
    if size > max_bytes:
        raise ReleasedFileError(f"{path}: {size} bytes, more than the {max_bytes} that such a file can have")
