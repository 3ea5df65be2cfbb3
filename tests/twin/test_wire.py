import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin import wire


def filled(kind):
    return np.frombuffer(np.random.default_rng(0).bytes(kind.itemsize), dtype=kind)[0]


@pytest.mark.parametrize("kind", [wire.COMMAND, wire.STATE], ids=["command", "state"])
def test_what_is_packed_is_unpacked(kind):
    record = filled(kind)
    datagram = wire.pack(record)
    assert len(datagram) == kind.itemsize + 4
    assert wire.unpack(datagram, kind).tobytes() == record.tobytes()
    assert wire.unpack(datagram, kind).shape == ()


def test_the_checksum_is_of_what_it_stands_behind():
    datagram = wire.pack(np.zeros((), dtype=wire.COMMAND))
    assert datagram[-4:] == zlib.crc32(datagram[:-4]).to_bytes(4, "little")


def test_commands_and_answers_are_told_apart():
    assert wire.COMMAND.itemsize != wire.STATE.itemsize
    assert wire.unpack(wire.pack(filled(wire.COMMAND)), wire.STATE) is None
    assert wire.unpack(wire.pack(filled(wire.STATE)), wire.COMMAND) is None


def test_every_bit_counts():
    datagram = wire.pack(filled(wire.STATE))
    for place in range(len(datagram)):
        for bit in range(8):
            spoilt = bytearray(datagram)
            spoilt[place] ^= 1 << bit
            assert wire.unpack(bytes(spoilt), wire.STATE) is None


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_whatever_arrives_is_refused_and_does_not_raise(datagram):
    assert wire.unpack(datagram, wire.COMMAND) is None and wire.unpack(datagram, wire.STATE) is None


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, 100])
def test_a_datagram_that_is_too_short_or_too_long(cut):
    datagram = wire.pack(filled(wire.COMMAND))
    assert wire.unpack(datagram[:cut], wire.COMMAND) is None
    assert wire.unpack(datagram + datagram[:cut], wire.COMMAND) is None or cut == 0
