"""Arrays in an HDF5 file from outside: looked at before they are read."""

from __future__ import annotations

import math
from typing import Any

import h5py


def stored_here(group: h5py.Group, name: str, error: type[Exception]) -> Any:
    """The array or group under `name`; `error` if it, or what an array holds, lies elsewhere than in this very file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise error(f"'{name}' is a link to somewhere else")
    item: Any = group[name]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise error(f"the values of '{name}' lie outside the file")
    return item


def check_chunks(dataset: h5py.Dataset, name: str, most_bytes: int, error: type[Exception]) -> None:
    """`error` if it is stored in chunks, which are unpacked whole, of more bytes than that."""
    if math.prod(dataset.chunks or ()) * dataset.dtype.itemsize > most_bytes:
        raise error(f"'{name}' is stored in chunks of an absurd size")
