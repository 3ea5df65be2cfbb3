"""What the guardian makes of what it sees, over a stand-in for the stream's process. What it then does: test_driver.py."""

import fcntl
import os
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from common.child_process import start_module
from robot import go1
from robot.driver import JointCommand
from robot.unitree.failsafe import Phase
from robot.unitree.guardian import must_take_over
from robot.unitree.link import STATE, Link, command_record
from robot.unitree.watch import STALL_AFTER_S
from twin import wire

ALL = np.ones(12)
SINKING = JointCommand(go1.DEFAULT_JOINT_POS, 0.0 * ALL, 5.0 * ALL)


class Stream:
    """A process that only lives, whose states the test writes."""

    def __init__(self):
        self.link = Link()
        self.process = subprocess.Popen(["sleep", "60"])
        self.fd = os.pidfd_open(self.process.pid)
        self.answer = self.thread = None

    def tell(self, phase):
        state = np.zeros((), dtype=STATE)
        state["phase"] = phase.value
        self.link.states.write(state)

    def end(self):
        self.process.kill()

    def guard(self, parent=None):
        """must_take_over, in a thread; `answer` is what it said."""

        def look():
            self.answer = must_take_over(self.link, self.fd, os.getppid() if parent is None else parent)

        self.thread = threading.Thread(target=look)
        self.thread.start()

    def wait(self):
        self.thread.join(10.0)
        assert not self.thread.is_alive()
        return self.answer

    def close(self):
        self.end()
        self.process.wait()
        if self.thread is not None:
            self.thread.join()
        os.close(self.fd)
        self.link.block.close()


@pytest.fixture
def stream():
    stream = Stream()
    yield stream
    stream.close()


@pytest.mark.parametrize("phase", [Phase.DAMPING, Phase.IDLE])
def test_a_stream_that_ended_as_it_should_needs_nobody(stream, phase):
    stream.link.commands.write(command_record(SINKING, closing=True))
    stream.tell(phase)
    stream.guard()
    stream.end()
    assert stream.wait() is False


@pytest.mark.parametrize("phase", list(Phase))
def test_a_stream_that_died_though_nobody_said_that_it_should_is_replaced(stream, phase):
    stream.link.commands.write(command_record(SINKING))
    stream.tell(phase)
    stream.guard()
    stream.end()
    assert stream.wait() is True


@pytest.mark.parametrize("phase", [Phase.FOLLOW, Phase.HOLD])
def test_a_stream_that_died_before_it_had_damped_is_replaced(stream, phase):
    stream.link.commands.write(command_record(SINKING, closing=True))
    stream.tell(phase)
    stream.guard()
    stream.end()
    assert stream.wait() is True


@pytest.mark.parametrize(("phase", "needed"), [(Phase.DAMPING, False), (Phase.FOLLOW, True)])
def test_after_the_control_process_died(stream, phase, needed):
    stream.tell(phase)
    stream.guard(parent=-1)
    stream.end()
    assert stream.wait() is needed


def test_a_stream_that_never_sent_anything_needs_nobody(stream):
    stream.guard()
    stream.end()
    assert stream.wait() is False


def test_a_stream_that_is_slow_to_begin_is_waited_for_while_one_that_falls_silent_is_not(stream):
    stream.guard()
    time.sleep(3 * STALL_AFTER_S)
    assert stream.thread.is_alive()
    for _ in range(30):
        stream.tell(Phase.FOLLOW)
        time.sleep(0.01)
    assert stream.thread.is_alive()
    begin_s = time.monotonic()
    assert stream.wait() is True
    print(f"a silent stream was noticed after {1e3 * (time.monotonic() - begin_s):.0f} ms")
    assert time.monotonic() - begin_s > 0.8 * STALL_AFTER_S


def test_it_shows_that_it_lives(stream):
    stream.guard()
    time.sleep(0.2)
    before = int(stream.link.guardian_beats[0])
    time.sleep(0.2)
    assert int(stream.link.guardian_beats[0]) > before > 0


@pytest.fixture
def high_fd(stream, room_for_files):
    fd = fcntl.fcntl(stream.fd, fcntl.F_DUPFD, 2000)
    yield fd
    os.close(fd)


def test_a_guardian_takes_over_though_it_was_given_a_descriptor_beyond_1023(stream, high_fd):
    link = stream.link
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.bind(("127.0.0.1", 0))
        robot.settimeout(20.0)
        place = ["127.0.0.1", robot.getsockname()[1], 0, 5, os.getpid(), high_fd]
        guardian = start_module("robot.unitree.guardian", [link.block.fd, "twin.robot_interface", *place], (link.block.fd, high_fd))
        stream.tell(Phase.FOLLOW)
        stream.end()
        command = wire.unpack(robot.recv(2048), wire.COMMAND)
    assert not command["Kp"].any() and (command["Kd"] == SINKING.kd).all()
    link.commands.write(command_record(SINKING, closing=True))
    assert guardian.wait(20.0) == 0


def test_a_guardian_that_comes_when_the_stream_is_long_gone_has_nothing_to_say(tmp_path):
    link, gone = Link(), subprocess.Popen(["true"])
    stream_fd = os.pidfd_open(gone.pid)
    gone.wait()
    place = ["127.0.0.1", 1, 0, 5, os.getpid(), stream_fd]
    with (tmp_path / "complaints").open("w+b") as complaints:
        guardian = start_module(
            "robot.unitree.guardian", [link.block.fd, "twin.robot_interface", *place], (link.block.fd, stream_fd), complaints=complaints
        )
        assert guardian.wait(20.0) == 0
        complaints.seek(0)
        assert complaints.read() == b""
    os.close(stream_fd)
    link.block.close()
