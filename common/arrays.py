"""Arrays in files from outside."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import QuadloopError


def load_arrays(path: Path, max_bytes: int, error: type[QuadloopError]) -> dict[str, Any]:
    """The arrays of an .npz by name, without pickles; raises `error`, on one line, for anything else and for more than `max_bytes`."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max_bytes:
            raise ValueError(f"unpacks to {unpacked:,} bytes, more than {max_bytes:,}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as reason:  # whatever a reader of foreign bytes stumbles over, the file is to blame
        words = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
        raise error(f"{path}: not a readable .npz of plain arrays ({words})") from reason
