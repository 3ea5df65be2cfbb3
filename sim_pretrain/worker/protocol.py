"""What both sides of the border agree on. Imported by quadloop and, from its own folder, by the worker's Python 3.8.

Two channels. A socket carries lines of JSON: the worker says hello with its sizes, then answers each line that it gets with one, the first
when it has shown what the robots see, the others when it has made a step. Shared memory carries the numbers: arrays of `FIELDS`, one
after the other.
"""

from __future__ import annotations

import json
import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

    from numpy.typing import NDArray

VERSION = 1
MAX_LINE = 1_000_000  # bytes

# Name, dtype, and columns a robot: the name of a size in the worker's hello, or None for one value without an axis of its own.
FIELDS: tuple[tuple[str, str, str | None], ...] = (
    ("actions", "float32", "num_actions"),
    ("observations", "float32", "num_obs"),
    ("critic_observations", "float32", "critic_size"),
    ("final_critic_observations", "float32", "critic_size"),
    ("rewards", "float32", None),
    ("terminated", "bool", None),
    ("truncated", "bool", None),
)
SIZES = ("num_envs", "num_obs", "num_actions", "critic_size")
_ALIGNMENT = 64  # bytes, a cache line


def shapes(sizes: Mapping[str, int]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """{name: (shape, dtype)} for the worker's sizes."""
    count = sizes["num_envs"]
    return {name: ((count, sizes[width]) if width else (count,), np.dtype(dtype)) for name, dtype, width in FIELDS}


def memory_bytes(sizes: Mapping[str, int]) -> int:
    """Bytes of shared memory that the arrays need."""
    return sum(_padded(math.prod(shape) * dtype.itemsize) for shape, dtype in shapes(sizes).values())


def map_arrays(descriptor: int, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """{name: array} over the memory behind an open file descriptor, which has at least `memory_bytes`."""
    memory = mmap.mmap(descriptor, memory_bytes(sizes))
    arrays: dict[str, NDArray[Any]] = {}
    offset = 0
    for name, (shape, dtype) in shapes(sizes).items():
        arrays[name] = np.ndarray(shape, dtype, memory, offset)
        offset += _padded(math.prod(shape) * dtype.itemsize)
    return arrays


def send(link: socket, message: Mapping[str, Any]) -> None:
    """Send one JSON object as a line."""
    link.sendall(json.dumps(message).encode() + b"\n")


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
