"""Random numbers by purpose: two parts of a run that share a seed do not share their luck."""

from __future__ import annotations

import secrets
import zlib

import numpy as np


def generator_for(purpose: str, *seeds: int) -> np.random.Generator:
    """A generator whose numbers depend on `seeds` (0 and above) and on what they are for, and on nothing else."""
    return np.random.default_rng((zlib.crc32(purpose.encode()), *seeds, 1))  # numpy takes (s, 0) and (s,) for the same


def fresh_seed() -> int:
    """From the operating system's entropy, so that no two sittings share their luck; 0 to 2^31 - 1, which every interface takes."""
    return secrets.randbits(31)
