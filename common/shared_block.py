"""Memory that several processes see, and a mailbox in it: the newest message wins, nobody waits for anybody.

The memory has no name and no file: it lives as long as a process holds its descriptor and is gone when the last one dies, however it
dies. A child gets it by `subprocess.Popen(..., pass_fds=[block.fd])`.
"""

from __future__ import annotations

import mmap
import os
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SharedBlock:
    """`size` bytes of zeros, or those behind an inherited descriptor `fd`."""

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.fd = os.memfd_create("quadloop") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self.memory = mmap.mmap(self.fd, size)

    def array(self, dtype: np.dtype[Any], count: int, offset: int = 0) -> NDArray[Any]:
        """A view of `count` values from `offset` bytes on; what one process writes the others see."""
        return np.frombuffer(self.memory, dtype=dtype, count=count, offset=offset)

    def close(self) -> None:
        """Give the descriptor back. The memory itself goes with its last view, here and in the other processes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Mailbox:
    """One record that one process writes and others read, at `offset` of a block. Neither waits, and half a message is never read.

    The writer fills two slots in turn. A slot carries its message's number and a checksum over both, so that a reader notices a
    message that was overwritten while it read, or that another process scribbled over.
    """

    def __init__(self, block: SharedBlock, record: np.dtype[Any], offset: int = 0) -> None:
        slot = _slot(record)
        self._slots = block.array(slot, 2, offset)
        self._bytes = block.array(np.dtype(np.uint8), 2 * slot.itemsize, offset).reshape(2, slot.itemsize)
        self._body = slice(0, slot.itemsize - _CHECKSUM_BYTES)
        self._number = int(self._slots["number"].max())

    @staticmethod
    def size(record: np.dtype[Any]) -> int:
        """Bytes that a mailbox for `record` takes; a multiple of 8."""
        return 2 * _slot(record).itemsize

    def write(self, message: NDArray[Any]) -> int:
        """Replace the message by a 0-dimensional record; returns its number, 1 for the first."""
        number = self._number + 1
        index = number % 2
        slot = self._slots[index]
        slot["checksum"] = 0  # from here on until the end nobody takes it for whole
        slot["message"], slot["number"] = message, number
        slot["checksum"] = self._checksum(self._bytes[index])
        self._number = number
        return number

    def read(self, after: int = 0) -> tuple[int, NDArray[Any]] | None:
        """The newest whole message as (number, a copy); None if none is newer than number `after`, or if both slots are damaged."""
        for _ in range(_READS):
            numbers = self._slots["number"].tolist()
            newest = int(numbers[1] > numbers[0])
            if numbers[newest] <= after:
                return None
            for index in (newest, 1 - newest):
                copy = self._bytes[index].copy()
                slot = copy.view(self._slots.dtype)[0]
                if slot["number"] > after and slot["checksum"] == self._checksum(copy):
                    return int(slot["number"]), slot["message"]
        return None

    def _checksum(self, slot: NDArray[np.uint8]) -> int:
        return zlib.crc32(slot[self._body].data) | _WRITTEN


_CHECKSUM_BYTES = 8
_READS = 10  # a reader that is held up between the slots may find both overwritten, but hardly so often in a row
_WRITTEN = 1 << 32  # a slot of zeros is no message, though its CRC may be zero


def _slot(record: np.dtype[Any]) -> np.dtype[Any]:
    padding = -record.itemsize % 8
    return np.dtype([("number", "<u8"), ("message", record), ("padding", np.uint8, (padding,)), ("checksum", "<u8")])
