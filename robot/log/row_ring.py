"""A ring of episode rows between two processes: one puts, the other takes, and neither ever waits for the other.

A row is there when its number and its checksum fit. So it does not matter in which order a processor makes writes visible to others,
and a row that was half written when its process died is never taken.
"""

from __future__ import annotations

import zlib

import numpy as np

from common.shared_block import SharedBlock
from robot.log.episode_fields import FIELDS, ROW, EpisodeLogError, EpisodeStep

_COUNT = np.dtype("<u8")
_HEAD = np.dtype([("taken", _COUNT), ("abandoned", _COUNT)])
_SLOT = np.dtype([("number", _COUNT), ("row", ROW), ("checksum", _COUNT)])


class RowRing:
    """`capacity` rows of dtype ROW at `offset` of a block. Rows are numbered from 1; row n lies in slot (n - 1) % capacity."""

    def __init__(self, block: SharedBlock, capacity: int, offset: int = 0) -> None:
        self.put_rows = 0  # of the process that puts; the other one has no use for it
        self._capacity = capacity
        head = block.array(_HEAD, 1, offset)
        self._taken, self._abandoned = head["taken"], head["abandoned"]  # written by the process that takes
        self._slots = block.array(_SLOT, capacity, offset + _HEAD.itemsize)
        bytes_ = block.array(np.dtype(np.uint8), capacity * _SLOT.itemsize, offset + _HEAD.itemsize)
        self._bytes = bytes_.reshape(capacity, _SLOT.itemsize)
        self._body = slice(0, _SLOT.itemsize - _COUNT.itemsize)
        self._numbers, self._checksums = self._slots["number"], self._slots["checksum"]
        self._columns = tuple((field, self._slots["row"][field.name]) for field in FIELDS)

    @staticmethod
    def size(capacity: int) -> int:
        """Bytes that a ring takes; a multiple of 8."""
        return _HEAD.itemsize + capacity * _SLOT.itemsize

    @property
    def taken_rows(self) -> int:
        """How many rows have been taken since the ring began."""
        return int(self._taken[0])

    @property
    def abandoned(self) -> bool:
        """Whether no more rows will be taken."""
        return bool(self._abandoned[0])

    def put(self, step: EpisodeStep) -> bool:
        """Add a row; False if the ring is full. EpisodeLogError if a field has the wrong shape or type, and nothing is added."""
        if self.put_rows - self.taken_rows >= self._capacity:
            return False
        index = self.put_rows % self._capacity
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which the log refuses
            for field, column in self._columns:
                value = getattr(step, field.name)
                shape = getattr(value, "shape", ())  # numpy's own np.shape costs a copy for plain numbers
                if shape != field.shape:
                    raise EpisodeLogError(f"{field.name} has shape {shape}, not {field.shape}")
                try:
                    column[index] = value
                except (TypeError, ValueError, OverflowError) as error:
                    raise EpisodeLogError(f"{field.name}: {error}") from error
        self.put_rows += 1
        self._numbers[index] = self.put_rows
        self._checksums[index] = zlib.crc32(self._bytes[index, self._body].data)
        return True

    def peek(self) -> EpisodeStep | None:
        """A copy of the oldest row; None if there is none, or none that is whole yet."""
        index = self.taken_rows % self._capacity
        if self._numbers[index] != self.taken_rows + 1:
            return None
        copy = self._bytes[index].copy()
        slot = copy.view(_SLOT)[0]
        if slot["number"] != self.taken_rows + 1 or slot["checksum"] != zlib.crc32(copy[self._body].data):
            return None
        return EpisodeStep(**{field.name: slot["row"][field.name] for field in FIELDS})

    def advance(self) -> None:
        """Take the row that `peek` showed; its slot is free from now on."""
        self._taken[0] += 1

    def abandon(self) -> None:
        """Say that no more rows will be taken."""
        self._abandoned[0] = 1
