"""Bins of commanded forward speed, in which achieved speeds are averaged: of recordings and of the twin alike."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPEED_BINS = tuple(itertools.pairwise((0.2, 0.5, 1.0, 1.5, 2.0)))
"""From and to, m/s."""


def speed_bin(commanded: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The index in SPEED_BINS of each commanded speed (T,), m/s; -1 for slower and faster ones. The last bin has its upper edge."""
    edges = [low for low, _ in SPEED_BINS]
    bins = np.digitize(commanded, edges) - 1
    return np.where(commanded <= SPEED_BINS[-1][1], bins, -1)
