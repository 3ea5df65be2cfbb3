"""What happens to files, for tests of what reads them."""

from __future__ import annotations

import numpy as np


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one of the usual kinds of damage."""
    kind, place = rng.integers(5), int(rng.integers(len(content)))
    damaged = bytearray(content)
    if kind == 0:  # the disk was full
        return bytes(damaged[:place])
    if kind == 1:  # a flipped bit, most of all where the structure is
        damaged[int(rng.integers(min(len(damaged), 4096)))] ^= 1 << int(rng.integers(8))
    elif kind == 2:  # a lost block
        damaged[place : place + 512] = bytes(len(damaged[place : place + 512]))
    elif kind == 3:  # noise
        damaged[place : place + 64] = rng.bytes(len(damaged[place : place + 64]))
    else:  # an absurd length or address
        damaged[place : place + 8] = b"\xff\xff\xff\xff\xff\xff\xff\x7f"[: len(damaged[place : place + 8])]
    return bytes(damaged)
