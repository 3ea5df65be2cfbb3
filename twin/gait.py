"""How a robot steps: gait frequency and duty factor of its feet, from which feet press the floor at each control step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from robot import go1

CONTACT_FORCE_N = 5.0  # N; a foot that carries its share of a trot presses with 60 N, one that grazes the floor with less than this
MIN_SWING_STEPS = 2  # control steps, 0.04 s; a foot that is off the floor for less has bounced, not stepped


class GaitMeter:
    """Counts the steps of N robots' feet while `watch` is called once a control step."""

    def __init__(self, num_robots: int) -> None:
        shape = (num_robots, len(go1.LEGS))
        self._time = 0
        self._airborne = np.zeros(shape, dtype=np.int64)  # control steps since the last contact
        self._touchdowns = np.zeros(shape, dtype=np.int64)
        self._first = np.zeros(shape, dtype=np.int64)
        self._last = np.zeros(shape, dtype=np.int64)
        self._contacts = np.zeros(shape, dtype=np.int64)  # since the first touchdown
        self._contacts_at_last = np.zeros(shape, dtype=np.int64)

    def watch(self, foot_force: Float64Array, up: NDArray[np.bool_]) -> None:
        """Take in foot forces (N, 4), N; robots that are not `up` (N,) are left out."""
        contact = (foot_force > CONTACT_FORCE_N) & up[:, None]
        touchdown = contact & (self._airborne >= MIN_SWING_STEPS)
        self._last[touchdown] = self._time
        self._contacts_at_last[touchdown] = self._contacts[touchdown]
        first = touchdown & (self._touchdowns == 0)
        self._first[first] = self._time
        self._touchdowns += touchdown
        self._contacts += contact & (self._touchdowns > 0)
        self._airborne = np.where(contact, 0, self._airborne + 1)
        self._time += 1

    def frequency_hz(self) -> Float64Array:
        """Steps of a foot in a second (N,), from its first touchdown to its last, mean over feet; 0 for feet that step less than twice."""
        cycles_s = np.maximum((self._last - self._first) * go1.CONTROL_DT, go1.CONTROL_DT)
        return np.asarray((np.maximum(self._touchdowns - 1, 0) / cycles_s).mean(axis=1))

    def duty_factor(self) -> Float64Array:
        """Share (N,) of its whole cycles that a foot presses the floor, mean over feet; 1 for feet that step less than twice."""
        steps = self._last - self._first
        return np.asarray(np.where(steps > 0, self._contacts_at_last / np.maximum(steps, 1), 1.0).mean(axis=1))
