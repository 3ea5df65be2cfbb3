"""HDF5 files that are read and written whole in memory.

Opening an untrusted or abandoned one: so that nothing is followed outside it and nothing waits.

A process that is killed while it writes under SWMR leaves a superblock that says "open for writing" and knows an old end of
file. HDF5's own answer, reading under SWMR, retries damaged metadata with growing sleeps and hangs on a damaged file.
So the bytes are read whole, the superblock is mended in memory (the file is not touched), and the library opens those.

Writing one: on a disk that is full the library crashes the whole process when it closes what it could not write.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from common.files import write_bytes
from robot.log.episode_fields import UnreadableFileError

# Superblock of version 3 (HDF5 file format specification, II.A): signature, version, sizes of offsets and lengths, flags,
# addresses of base, extension, end of file and root, checksum; all before the checksum are hashed.
_SUPERBLOCK = struct.Struct("<8s4B4QI")
SUPERBLOCK_BYTES = _SUPERBLOCK.size
"""With which every file begins: a writer that was killed early leaves no more"""
_HASHED = SUPERBLOCK_BYTES - 4
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CLOSED = 0
_WORD = 0xFFFFFFFF


def open_image(path: Path, max_bytes: int) -> h5py.File:
    """Read `path` whole and open its bytes for reading.

    OSError if that fails, UnreadableFileError if there are more than `max_bytes` or they do not begin as an HDF5 file of ours.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise UnreadableFileError(f"larger than {max_bytes // 2**20} MB")
        content = file.read(max_bytes)
    if not content.startswith(_SIGNATURE):
        raise UnreadableFileError("not an HDF5 file, as logs are, or cut short; leave it out")
    return h5py.File(io.BytesIO(mended(content)), "r")


@contextmanager
def new_image(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A new HDF5 file in memory, with h5py's `options`; its bytes become `path`, whole or not at all, at the end of a block that succeeds.

    OSError, naming `path`, if the disk refuses.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, **options) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    write_bytes(path, content)


def mended(content: bytes) -> bytes:
    """The file as if its writer had closed it: unchanged unless a superblock of version 3 is marked open for writing."""
    if len(content) < _SUPERBLOCK.size:
        return content
    signature, version, offsets, lengths, flags, base, extension, _end, root, checksum = _SUPERBLOCK.unpack_from(content)
    if signature != _SIGNATURE or version != 3 or flags == _CLOSED or checksum != lookup3(content[:_HASHED]):
        return content
    fields = (signature, version, offsets, lengths, _CLOSED, base, extension, len(content), root)
    checksum = lookup3(_SUPERBLOCK.pack(*fields, 0)[:_HASHED])
    return _SUPERBLOCK.pack(*fields, checksum) + content[_SUPERBLOCK.size :]


def lookup3(data: bytes) -> int:
    """HDF5's metadata checksum: Bob Jenkins' public-domain hash lookup3 (hashlittle, initial value 0) of non-empty `data`."""
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data + bytes(-len(data) % 12))
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    for index in range(0, len(words), 3):
        if index:
            a, b, c = _mix(a, b, c)
        a, b, c = ((x + y) & _WORD for x, y in zip((a, b, c), words[index : index + 3], strict=True))
    return _final(a, b, c)


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for rotation in (4, 6, 8, 16, 19, 4):
        a = (a - c) & _WORD ^ _rotated(c, rotation)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for rotation in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, rotation)) & _WORD
        a, b, c = b, c, a
    return b  # the last c, after the names moved on


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _WORD
