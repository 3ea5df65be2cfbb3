"""Shared memory, and a mailbox that is written and read at once, frozen, and scribbled over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.shared_block import Mailbox, SharedBlock

RECORD = np.dtype([("number", "<u8"), ("values", "<f8", (80,))])
WRITER = """
import sys, time
import numpy as np
from common.shared_block import Mailbox, SharedBlock

RECORD = np.dtype([("number", "<u8"), ("values", "<f8", (80,))])
mailbox, record = Mailbox(SharedBlock(Mailbox.size(RECORD), int(sys.argv[1])), RECORD), np.zeros((), RECORD)
print("ready", flush=True)
while True:
    record["number"] += 1
    record["values"] = record["number"]
    mailbox.write(record)
    time.sleep(float(sys.argv[2]))
"""


def open_files():
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def record(number):
    made = np.zeros((), RECORD)
    made["number"], made["values"] = number, number
    return made


@pytest.fixture
def block():
    block = SharedBlock(Mailbox.size(RECORD))
    yield block
    block.close()


@pytest.fixture
def start_writer(block, root):
    """Another process that writes 1, 2, 3 ... with a pause of `pause_s`."""
    started = []

    def start(pause_s):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(block.fd), str(pause_s)], cwd=root, pass_fds=[block.fd], stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_memory_begins_as_zeros_and_is_seen_through_its_descriptor(block):
    twin = SharedBlock(Mailbox.size(RECORD), os.dup(block.fd))
    seen = twin.array(np.dtype("<u4"), 4, offset=8)
    assert not seen.any()
    block.array(np.dtype("<u4"), 4, offset=8)[:] = [1, 2, 3, 4]
    np.testing.assert_array_equal(seen, [1, 2, 3, 4])
    twin.close()


def test_views_outlive_the_descriptor(block):
    view = block.array(np.dtype("<u4"), 1)
    block.close()
    block.close()  # idempotent
    view[0] = 7
    assert view[0] == 7


def test_nothing_is_left_open():
    before = open_files()
    for _ in range(20):
        block = SharedBlock(4096)
        Mailbox(block, RECORD).write(record(1))
        block.close()
    del block
    assert open_files() == before


def test_an_empty_mailbox_has_no_message(block):
    assert Mailbox(block, RECORD).read() is None


def test_the_newest_message_wins_and_is_numbered(block):
    writer, reader = Mailbox(block, RECORD), Mailbox(block, RECORD)
    for number in range(1, 8):
        assert writer.write(record(number)) == number
        assert reader.read()[0] == number
        np.testing.assert_array_equal(reader.read()[1]["values"], np.full(80, number))


def test_a_message_that_was_read_does_not_change(block):
    mailbox = Mailbox(block, RECORD)
    mailbox.write(record(1))
    _, message = mailbox.read()
    for number in (2, 3, 4):
        mailbox.write(record(number))
    assert message["number"] == 1 and (message["values"] == 1).all()


def test_a_message_of_zeros_is_a_message(block):
    mailbox = Mailbox(block, RECORD)
    mailbox.write(np.zeros((), RECORD))
    number, message = mailbox.read()
    assert number == 1 and not message["values"].any()


def test_whoever_takes_the_writers_place_goes_on_counting(block):
    Mailbox(block, RECORD).write(record(1))
    heir = Mailbox(block, RECORD)
    assert heir.write(record(2)) == 2 and heir.read()[0] == 2


@pytest.mark.parametrize("itemsize", [1, 7, 8, 9, 1001])
def test_sizes_are_whole_words_and_any_record_fits(itemsize):
    kind = np.dtype([("bytes", "u1", (itemsize,))])
    assert Mailbox.size(kind) % 8 == 0
    block = SharedBlock(Mailbox.size(kind))
    mailbox, message = Mailbox(block, kind), np.zeros((), kind)
    message["bytes"] = 200
    mailbox.write(message)
    assert (mailbox.read()[1]["bytes"] == 200).all()
    block.close()


def test_two_mailboxes_of_a_block_do_not_touch_each_other():
    block = SharedBlock(2 * Mailbox.size(RECORD))
    first, second = Mailbox(block, RECORD), Mailbox(block, RECORD, offset=Mailbox.size(RECORD))
    first.write(record(5))
    assert second.read() is None
    second.write(record(6))
    second.write(record(7))
    assert first.read()[1]["number"] == 5
    block.close()


def test_every_byte_that_is_scribbled_over_is_noticed(block):
    mailbox = Mailbox(block, RECORD)
    mailbox.write(record(1))
    mailbox.write(record(2))
    memory = block.array(np.dtype("u1"), Mailbox.size(RECORD))
    newest = slice(0, Mailbox.size(RECORD) // 2)  # of the two slots that with the even number
    for place in range(newest.start, newest.stop):
        for flip in (0x01, 0xFF):
            memory[place] ^= flip
            assert mailbox.read()[0] == 1  # the one before is still whole
            memory[place] ^= flip
    assert mailbox.read()[0] == 2


def test_a_mailbox_with_both_messages_damaged_has_none(block):
    mailbox = Mailbox(block, RECORD)
    mailbox.write(record(1))
    mailbox.write(record(2))
    block.array(np.dtype("u1"), Mailbox.size(RECORD))[:] ^= 0x10
    assert mailbox.read() is None


def test_scribble_is_never_a_message(block):
    random = np.random.default_rng(0)
    mailbox, memory = Mailbox(block, RECORD), block.array(np.dtype("u1"), Mailbox.size(RECORD))
    for _ in range(500):
        memory[:] = random.integers(0, 256, len(memory))
        assert mailbox.read() is None


def watch(mailbox, seconds):
    """What is read meanwhile: (reads, misses, numbers in the order they were seen). Fails on half a message."""
    reads, misses, numbers, end_s = 0, 0, [0], time.monotonic() + seconds
    while time.monotonic() < end_s:
        message = mailbox.read()
        reads += 1
        if message is None:
            misses += 1
            continue
        assert (message[1]["values"] == message[1]["number"]).all()
        numbers.append(message[0])
    assert numbers == sorted(numbers)
    return reads, misses, numbers


def test_a_reader_beside_a_writer_at_500_hz_never_misses_and_never_reads_half(block, start_writer):
    start_writer(0.002)
    mailbox = Mailbox(block, RECORD)
    while mailbox.read() is None:
        time.sleep(0.001)
    reads, misses, numbers = watch(mailbox, 1.5)
    assert misses == 0 and reads > 1000
    assert numbers[-1] > 50


def test_a_reader_beside_a_writer_that_never_rests_reads_no_half_message(block, start_writer):
    start_writer(0.0)
    mailbox = Mailbox(block, RECORD)
    time.sleep(0.01)
    reads, misses, numbers = watch(mailbox, 1.5)
    assert misses <= 0.01 * reads
    assert numbers[-1] > 1000


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
def test_a_writer_that_is_stopped_anywhere_leaves_a_whole_message(block, start_writer, end):
    mailbox = Mailbox(block, RECORD)
    for _ in range(3):
        writer = start_writer(0.0)
        time.sleep(0.03)
        writer.send_signal(end)
        time.sleep(0.02)
        number, message = mailbox.read()
        assert (message["values"] == message["number"]).all() and number >= 1
        writer.kill()
        writer.wait()
