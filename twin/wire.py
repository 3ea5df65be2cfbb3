"""The datagrams between the SDK's double and the simulated robot: commands, answers, each with a checksum, joints in the SDK's order."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot import go1

_MOTORS = (go1.NUM_JOINTS,)

COMMAND = np.dtype([(name, "<f4", _MOTORS) for name in ("mode", "q", "dq", "tau", "Kp", "Kd")])
STATE = np.dtype(
    [
        ("tick", "<u4"),  # ms
        *[(name, "<f4", _MOTORS) for name in ("q", "dq", "tauEst", "temperature", "mode")],
        ("quaternion", "<f4", (4,)), ("gyroscope", "<f4", (3,)), ("accelerometer", "<f4", (3,)),
        ("footForce", "<i2", (4,)),
        ("SOC", "u1"),
        ("wirelessRemote", "u1", (40,)),
    ]
)  # fmt: skip

_CHECKSUM_BYTES = 4


def pack(record: NDArray[Any]) -> bytes:
    """A 0-dimensional record and its CRC-32."""
    body = record.tobytes()
    return body + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little")


def unpack(datagram: bytes, kind: np.dtype[Any]) -> NDArray[Any] | None:
    """The record in a datagram; None if it is of another size or fails its checksum."""
    body, checksum = datagram[:-_CHECKSUM_BYTES], datagram[-_CHECKSUM_BYTES:]
    if len(body) != kind.itemsize or zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        return None
    return np.frombuffer(body, dtype=kind).reshape(())
