"""The Go1's wireless remote, as the robot passes it on: 40 bytes with every answer.

Layout: unitree_legged_sdk, joystick.h: two bytes of head, two of buttons, then lx, rx, ry, L2, ly as float32.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

_BUTTONS = 3  # the byte of A, B, X, Y and the arrows, lowest bit first
_B = 1 << 1


def is_present(remote: NDArray[Any]) -> bool:
    """Whether a remote is switched on and paired: without one the 40 bytes are zeros."""
    return bool(remote.any())


def asks_to_stop(remote: NDArray[Any]) -> bool:
    """Whether B is pressed. The vendor's own stop is L2 and B; in an emergency nobody counts fingers, so B alone counts too."""
    return bool(remote[_BUTTONS] & _B)
