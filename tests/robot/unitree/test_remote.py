import struct

import numpy as np
import pytest

from robot.unitree.remote import asks_to_stop, is_present

# [sdk] joystick.h: the bits of the two bytes after the head, lowest first.
BUTTONS = ["R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left"]


def remote(*pressed, sticks=(0.0,) * 5, head=(0x55, 0x51)):
    """The 40 bytes as joystick.h lays them out: head, buttons, lx, rx, ry, L2, ly, idle."""
    buttons = sum(1 << BUTTONS.index(name) for name in pressed)
    return np.frombuffer(struct.pack("<2BH5f16x", *head, buttons, *sticks), dtype=np.uint8)


def test_the_layout_has_40_bytes():
    assert remote().shape == (40,)


@pytest.mark.parametrize("button", BUTTONS)
def test_b_alone_stops(button):
    assert asks_to_stop(remote(button)) == (button == "B")


def test_b_stops_whatever_else_is_pressed():
    assert asks_to_stop(remote(*BUTTONS))
    assert asks_to_stop(remote("L2", "B", sticks=(1.0, -1.0, 0.5, 1.0, 0.0)))
    assert not asks_to_stop(remote(*(name for name in BUTTONS if name != "B"), sticks=(1.0,) * 5))


def test_a_remote_that_is_off_is_forty_zeros():
    assert not is_present(np.zeros(40, dtype=np.uint8))
    assert is_present(remote())
    assert is_present(remote("A", head=(0, 0))) and is_present(remote(sticks=(0.0, 0.0, 0.0, 0.0, 0.3), head=(0, 0)))
