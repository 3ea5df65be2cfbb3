"""The simulated robot's server, turned by hand with a clock of the test's own, and its process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot import go1
from robot.driver import DriverError
from robot.unitree.sdk_port import Address, SdkPort
from twin import robot_interface, robot_process, wire
from twin.live import PRONE_HEIGHT, PRONE_JOINT_POS
from twin.robot_interface import UDP, LowCmd, LowState
from twin.robot_process import Control, RobotProcess
from twin.robot_server import RobotServer
from twin.world import WorldError

# [sdk] quadruped.h, written out: the policy's joint names in the order of the SDK's motors.
SDK_ORDER = [f"{leg}_{joint}_joint" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]
TO_SDK = [go1.JOINT_NAMES.index(name) for name in SDK_ORDER]


def ports():
    return robot_process._free_ports()


class Lab:
    """A server and a client of it, with a clock that only `turn` moves."""

    def __init__(self):
        self.port, _ = ports()
        self.now = time.monotonic()
        self.server = RobotServer("flat", self.port, 0)
        self.client, self.hand = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for mine, port in ((self.client, self.port), (self.hand, self.port + 1)):
            mine.connect(("127.0.0.1", port))
        self.client.setblocking(False)
        self.hand.settimeout(2.0)
        self.arrived = []

    def turn(self, seconds=0.002):
        for _ in range(round(seconds / 0.002)):
            self.now += 0.002
            self.server.turn(self.now)
            self.hear()

    def hear(self):
        """Take what has arrived at once: a socket that is full drops the newest."""
        try:
            while True:
                self.arrived.append(self.client.recv(2048))
        except BlockingIOError:
            return

    def command(self, target=go1.DEFAULT_JOINT_POS, kp=20.0, kd=0.5):
        """In the policy's order."""
        record = np.zeros((), dtype=wire.COMMAND)
        for name, value in (("q", target), ("Kp", kp), ("Kd", kd)):
            record[name] = np.broadcast_to(value, 12)[TO_SDK]
        self.client.send(wire.pack(record))

    def stand(self):
        for share in np.linspace(0.0, 1.0, 75):
            self.command(PRONE_JOINT_POS + share * (go1.DEFAULT_JOINT_POS - PRONE_JOINT_POS))
            self.turn(0.02)
        self.turn(1.0)

    def answer(self):
        """The newest since the last one that was asked for, None if there is none."""
        newest = self.raw()
        return None if newest is None else wire.unpack(newest, wire.STATE)

    def raw(self):
        newest = self.arrived[-1] if self.arrived else None
        self.arrived.clear()
        return newest

    def order(self, text=None, **orders):
        self.hand.send(json.dumps(orders).encode() if text is None else text)
        self.turn()
        return json.loads(self.hand.recv(65536))

    def close(self):
        self.server.close()
        self.client.close()
        self.hand.close()


@pytest.fixture
def lab():
    lab = Lab()
    yield lab
    lab.close()


def started(lab):
    """With a client that it answers."""
    lab.command(kp=0.0, kd=0.0)
    lab.turn(0.02)
    assert lab.answer() is not None
    return lab


def test_nobody_who_did_not_ask_is_answered(lab):
    lab.turn(0.1)
    assert lab.answer() is None


def test_it_answers_500_times_a_second_whoever_commanded_it_last(lab):
    lab.command(kp=0.0, kd=0.0)
    lab.turn(0.1)
    assert len(lab.arrived) == 50
    lab.arrived.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(wire.pack(np.zeros((), dtype=wire.COMMAND)), ("127.0.0.1", lab.port))
        lab.turn()
        other.settimeout(2.0)
        assert wire.unpack(other.recv(2048), wire.STATE) is not None
        lab.turn()
    assert lab.answer() is None
    lab.turn(0.01)  # the other one has gone, which a robot does not mind


def test_it_holds_its_last_command_for_ever(lab):
    lab.command(kp=20.0)
    lab.turn(5.0)
    truth = lab.order()
    assert truth["received"][-1]["mode"] == "torque" and len(truth["received"]) == 1
    assert truth["base_pos_w"][2] > 0.15  # up on its last target
    np.testing.assert_allclose(truth["joint_pos_target"], go1.DEFAULT_JOINT_POS, atol=1e-6)
    assert truth["kp"] == [20.0] * 12 and truth["kd"] == [0.5] * 12


def test_what_it_received_is_told_by_mode_and_sender(lab):
    for kp, kd in ((0.0, 0.0), (20.0, 0.5), (0.0, 5.0), (0.0, 5.0), (0.0, 0.0)):
        lab.command(kp=kp, kd=kd)
        lab.turn()
    received = lab.order()["received"]
    assert [entry["mode"] for entry in received] == ["none", "torque", "damping", "none"]
    assert {entry["port"] for entry in received} == {lab.client.getsockname()[1]}
    stamps = [entry["stamp_s"] for entry in received]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("name", SDK_ORDER)
def test_motors_and_sensors_are_in_the_sdks_order(lab, name):
    started(lab)
    joint = go1.JOINT_NAMES.index(name)
    lab.turn(0.1)
    before = lab.answer()
    target = np.zeros(12)
    sdk = SDK_ORDER.index(name)
    target[joint] = before["q"][sdk] + (0.2 if before["q"][sdk] < 0.5 else -0.2)
    lab.command(target, np.where(np.arange(12) == joint, 40.0, 0.0), 0.5)
    lab.turn(0.006)
    answer = lab.answer()
    assert np.argmax(np.abs(answer["tauEst"])) == sdk
    assert np.sign(answer["tauEst"][sdk]) == np.sign(target[joint] - before["q"][sdk])
    np.testing.assert_allclose(lab.order()["kp"], np.where(np.arange(12) == joint, 40.0, 0.0))


def test_a_sound_robot_measures_sound_things(lab):
    lab.stand()
    answer = lab.answer()
    assert answer["SOC"] == 80 and (answer["temperature"] == 40).all() and (answer["mode"] == 0x0A).all()
    assert tuple(answer["wirelessRemote"][:2]) == (0x55, 0x51) and not answer["wirelessRemote"][2:].any()
    assert np.linalg.norm(answer["quaternion"]) == pytest.approx(1.0, abs=1e-5)
    assert answer["accelerometer"][2] == pytest.approx(9.81, abs=1.0)
    assert answer["footForce"].sum() == pytest.approx(go1.TOTAL_MASS * 9.81, rel=0.2)
    tick = int(answer["tick"])
    lab.turn(0.5)
    assert int(lab.answer()["tick"]) - tick == pytest.approx(500, abs=2)


def test_commands_that_are_no_commands_change_nothing(lab):
    started(lab)
    good = bytearray(wire.pack(np.ones((), dtype=wire.COMMAND)))
    good[5] ^= 1
    for datagram in (b"", b"x", bytes(5000), bytes(good), wire.pack(np.zeros((), dtype=wire.STATE))):
        lab.client.send(datagram)
        lab.turn()
    assert lab.order()["received"][-1]["mode"] == "none" and lab.order()["violations"] == 0


def test_commands_beyond_a_limit_are_counted(lab):
    lab.command(go1.JOINT_POS_UPPER)
    lab.command(go1.JOINT_POS_LOWER)
    lab.command(np.full(12, 2.146e9), kp=0.0, kd=5.0)  # no position is asked for
    lab.turn()
    assert lab.order()["violations"] == 0
    lab.command(go1.JOINT_POS_UPPER + 0.01)
    lab.command(np.where(np.arange(12) == 3, np.nan, go1.DEFAULT_JOINT_POS))
    lab.command(kd=np.nan, kp=0.0)
    lab.command(kp=0.0, kd=0.0)  # before it moves by any of these
    lab.turn()
    assert lab.order()["violations"] == 3


# Orders.


def expect(lab, check, **orders):
    started(lab)
    lab.order(**orders)
    lab.answer()
    lab.turn(0.02)
    check(lab.answer())


def test_a_silent_robot(lab):
    expect(lab, lambda answer: None if answer is None else pytest.fail("it answered"), silent=True)
    lab.order(silent=False)
    lab.turn()
    assert lab.answer() is not None


def test_a_frozen_robot(lab):
    started(lab)
    lab.order(frozen=True)
    lab.answer()
    lab.turn()
    first = lab.answer()["tick"]
    lab.turn(0.5)
    assert lab.answer()["tick"] == first
    lab.order(frozen=False)
    lab.turn()
    assert lab.answer()["tick"] > first + 400


def test_a_garbled_robot(lab):
    started(lab)
    lab.order(garbled=True)
    lab.answer()
    lab.turn()
    assert wire.unpack(lab.raw(), wire.STATE) is None


def test_a_restarted_robot(lab):
    def counts_anew(answer):
        assert answer["tick"] < 100

    expect(lab, counts_anew, restarted=True)


def test_other_orders_show_in_the_answer(lab):
    started(lab)
    lab.order(battery_percent=3, temperature=90, overheated=True, remote_stop=True)
    lab.answer()
    lab.turn()
    answer = lab.answer()
    assert answer["SOC"] == 3 and (answer["temperature"] == 90).all() and answer["mode"].tolist().count(8.0) == 1
    assert answer["wirelessRemote"][3] == 2
    lab.order(remote=False, nan=True, unpowered_imu=True)
    lab.answer()
    lab.turn()
    answer = lab.answer()
    assert not answer["wirelessRemote"].any() and np.isnan(answer["q"]).all() and not answer["quaternion"].any()


def test_a_hand_tips_it_over_and_lays_it_down(lab):
    lab.command()
    lab.turn(1.0)
    w, x, _, _ = lab.order(tip_over=3.1)["quaternion_wxyz"]
    assert abs(x) > 0.9 > abs(w)
    truth = lab.order(lie_down=True)
    assert truth["quaternion_wxyz"][0] > 0.99 and truth["base_pos_w"][2] == pytest.approx(PRONE_HEIGHT, abs=0.03)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"7", b'"tip_over"', b"[]", b"null", b"[" * 3000, b"\xff\xfe", b'{"no_such": 1}', b'{"no_such": null}',
        b'{"battery_percent": "full"}', b'{"silent": 1}', b'{"tip_over": "far"}', b'{"__class__": 1}', b'{"tip_over": [1]}',
    ],
    ids=range(15),
)  # fmt: skip
def test_an_order_that_is_none_is_refused_and_the_robot_goes_on(lab, text):
    started(lab)
    assert lab.order(text)["error"] is not None
    lab.turn(0.02)
    assert lab.answer() is not None and "error" not in lab.order()


@pytest.mark.parametrize("percent", [-5, 300])
def test_a_battery_that_there_is_not_does_not_end_the_robot(lab, percent):
    started(lab)
    lab.order(battery_percent=percent)
    lab.turn()
    assert 0 <= lab.answer()["SOC"] <= 100


def test_answers_carry_the_number_of_the_order(lab):
    assert lab.order(number=41)["number"] == 41
    assert lab.order(number=42, no_such=1)["number"] == 42


def test_a_hold_up_is_not_made_up_for_in_one_go(lab):
    lab.stand()
    lab.command(PRONE_JOINT_POS)
    lab.turn()
    height = lab.order()["base_pos_w"][2]
    lab.now += 100.0
    lab.turn()
    assert height - lab.order()["base_pos_w"][2] == pytest.approx(0.05, abs=0.03)
    lab.turn(1.0)
    assert height - lab.order()["base_pos_w"][2] > 0.15


# The double of the SDK before it.


@pytest.fixture
def sdk(lab):
    _, local_port = ports()
    udp = UDP(0xFF, local_port, "127.0.0.1", lab.port)
    yield lab, udp
    udp._socket.close()


def test_the_double_exchanges_with_the_server(sdk):
    lab, udp = sdk
    command, state = LowCmd(), LowState()
    udp.InitCmdData(command)
    for motor in command.motorCmd[:12]:
        motor.mode, motor.Kd = 0x0A, 5.0
    udp.SetSend(command)
    assert udp.Send() > 0
    lab.turn(0.02)
    assert udp.Recv() > 0
    udp.GetRecv(state)
    assert state.tick > 900 and state.bms.SOC == 80 and state.motorState[0].mode == 0x0A and len(state.wirelessRemote) == 40
    assert lab.order()["received"][-1]["mode"] == "damping"


def test_the_double_keeps_the_answer_before_where_a_checksum_fails(sdk):
    lab, udp = sdk
    state = LowState()
    udp.Send()
    lab.turn(0.02)
    lab.order(garbled=True)
    take_all(udp, state)
    tick = state.tick
    lab.turn(0.1)
    take_all(udp, state)
    assert state.tick == tick > 0
    lab.order(garbled=False)
    lab.turn(0.02)
    take_all(udp, state)
    assert state.tick > tick + 90


def take_all(udp, state):
    """Leaves the newest answer in `state`."""
    while udp.Recv():
        udp.GetRecv(state)


def test_the_double_takes_one_answer_at_a_time_and_the_oldest_first(sdk):
    lab, udp = sdk
    state, ticks = LowState(), []
    udp.Send()
    lab.turn(0.02)
    while udp.Recv():
        udp.GetRecv(state)
        ticks.append(state.tick)
    assert len(ticks) == 10 and ticks == sorted(set(ticks))
    udp.GetRecv(state)
    assert state.tick == ticks[-1]


def test_a_port_that_was_held_up_soon_has_the_newest_answer(lab):
    port = SdkPort(robot_interface, Address("127.0.0.1", lab.port, ports()[1]), 5)
    port.send(*np.zeros((3, 12)))
    for _ in range(5):
        lab.turn(0.05)
        for _ in range(4):
            lab.turn()
            reading = port.receive()
        assert port.receive()["tick"] == reading["tick"] > 1000  # there is no newer one


def test_before_the_first_answer_the_double_has_zeros(sdk):
    _, udp = sdk
    state = LowState()
    udp.Recv()
    udp.GetRecv(state)
    assert state.tick == 0 and state.imu.quaternion == [0.0] * 4


# The process.


def is_alive(pid):
    """Not counting one that has ended and that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_tells_the_truth_and_ends(root):
    with RobotProcess() as robot:
        truth = robot.truth()
        assert truth["received"] == [] and truth["violations"] == 0 and abs(truth["now_s"] - time.monotonic()) < 1.0
        with pytest.raises(DriverError, match="refuses: no order 'no_such'"):
            robot.order(no_such=True)
        with pytest.raises(DriverError, match="no fault of a camera is called 'TYPO'; there are LOST, BLIND"):
            robot.order(camera="LOST|TYPO")
        pid = robot.pid
        os.kill(pid, signal.SIGINT)  # a Ctrl-C in the terminal is not for the robot
        assert robot.truth()
    robot.close()
    assert not is_alive(pid)


def test_a_late_answer_is_not_taken_for_that_to_another_order(monkeypatch):
    with RobotProcess() as robot:
        os.kill(robot.pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(robot_process, "ANSWER_TIMEOUT_S", 0.05)
            with pytest.raises(DriverError, match="does not answer"):
                robot.order(battery_percent=50)
        os.kill(robot.pid, signal.SIGCONT)
        time.sleep(0.3)  # now three answers lie there
        before_s = time.monotonic()
        assert robot.truth()["now_s"] >= before_s - 0.1


def test_a_world_that_there_is_not_is_told_in_one_line():
    with pytest.raises(WorldError, match="nowhere") as error:
        RobotProcess("nowhere")
    assert "\n" not in str(error.value)
    with pytest.raises(WorldError, match="nowhere"):
        RobotServer("nowhere", ports()[0], 0)


def test_a_robot_that_cannot_start_is_told_in_one_line(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(robot_process, "_free_ports", lambda: (taken.getsockname()[1], 0))
        with pytest.raises(DriverError, match=r"did not start: .*in use") as error:
            RobotProcess()
    assert "\n" not in str(error.value)


def test_a_robot_whose_owner_dies_ends(root):
    script = (
        "import time\nfrom twin.robot_process import RobotProcess\nrobot = RobotProcess()\nprint(robot.pid, flush=True)\ntime.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE)
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    end_s = time.monotonic() + 10.0
    while is_alive(pid):
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_two_robots_do_not_meet():
    with RobotProcess() as one, RobotProcess() as other:
        one.order(battery_percent=11)
        control = Control(other.config.address.port + 1)
        assert control.order()["now_s"] and one.config.address.port != other.config.address.port
        control.close()


def test_a_robot_that_never_starts_is_not_waited_for_for_ever(monkeypatch):
    def hang(_module, _arguments, *, orders, output, complaints):
        return subprocess.Popen([sys.executable, "-c", "input()"], stdin=orders, stdout=output, stderr=complaints)

    monkeypatch.setattr(robot_process, "start_module", hang)
    monkeypatch.setattr(robot_process, "START_TIMEOUT_S", 0.2)
    with pytest.raises(DriverError, match=r"did not start within 0\.2 s: it said nothing"):
        RobotProcess()
