"""Arrays from outside: in files, and taken over into arrays of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def take_over(target: NDArray[Any], state: Mapping[str, Any], name: str, finite: bool = True) -> None:
    """Copy `state[name]` into `target`.

    KeyError if it is not there; ValueError, with its name, if it has another shape or kind of numbers or, unless `finite` is False, holds
    NaN or infinity.
    """
    values = np.asarray(state[name])
    if (values.shape, values.dtype.kind) != (target.shape, target.dtype.kind):
        raise ValueError(f"'{name}' is {values.dtype} of shape {values.shape}, not {target.dtype} of shape {target.shape}")
    if finite and not np.isfinite(values).all():
        raise ValueError(f"'{name}' holds a value that is not a finite number")
    target[:] = values
