"""Random numbers by purpose: two parts of a run that share a seed do not share their luck."""

from __future__ import annotations

import zlib

import numpy as np


def generator_for(purpose: str, *seeds: int) -> np.random.Generator:
    """A generator whose numbers depend on `seeds` (0 and above) and on what they are for, and on nothing else."""
    return np.random.default_rng((zlib.crc32(purpose.encode()), *seeds, 1))  # numpy takes (s, 0) and (s,) for the same
