"""The driver with its processes, in real time, before a simulated robot in its own. Bounds are generous; what was measured is printed."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.realtime import Priority
from robot import control_thread, go1
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.control_thread import ControlThread
from robot.driver import NO_FAULT, DriverError, DriverFault, JointCommand, RobotState, fault_names
from robot.pace import RealTime
from robot.run_episode import stand_up
from robot.still_driver import StillPolicy, StillVelocity
from robot.supervisor import DAMPING_KD, SINKING_S, Mode, ModeError, SafetyEvent, Supervisor
from robot.unitree import driver as driver_module
from robot.unitree.driver import Go1Config, Go1Driver
from robot.unitree.failsafe import RESTING, Phase
from robot.unitree.sdk_port import Address
from twin.live import PRONE_JOINT_POS
from twin.robot_process import RobotProcess

PATIENCE_S = 10.0
ALL = np.ones(12)
PASSIVE = JointCommand(go1.DEFAULT_JOINT_POS, 0 * ALL, 0 * ALL)
SINKING = JointCommand(go1.DEFAULT_JOINT_POS, 0 * ALL, DAMPING_KD * ALL)
SOUND = {
    "remote": True, "remote_stop": False, "battery_percent": 80, "temperature": 40, "overheated": False, "silent": False, "frozen": False,
    "nan": False, "garbled": False, "restarted": False, "unpowered_imu": False,
}  # fmt: skip


def until(condition, timeout_s=PATIENCE_S):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.002)


def has_ended(pid):
    """Also one that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def open_files():
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def children():
    """Process ids of this process's children, the dead among them too."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def hurry():
    """This thread's priority as a control thread has it, where that is granted, so that a busy computer does not stop the robot.

    Without the locked memory of common.realtime, which would outlast the test.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(Priority.CONTROL))
    return []


class Hand(threading.Thread):
    """A control process without a supervisor: reads, and writes `command` every 20 ms, as long as it is in the context."""

    def __init__(self, driver):
        super().__init__(name="hand", daemon=True)
        self.driver, self.command, self.states, self.over = driver, PASSIVE, [], threading.Event()

    def run(self):
        hurry()
        while not self.over.wait(go1.CONTROL_DT):
            self.states.append(self.driver.read())
            self.driver.write(self.command)

    @property
    def faults(self):
        return self.driver.read().faults

    def rest(self):
        """Without stiffness, and well."""
        self.command = PASSIVE
        until(lambda: self.driver.status.phase in RESTING and self.faults == NO_FAULT)

    def stand(self, rise_s=0.4, hold_s=0.0):
        """From where the joints are to the default posture, and hold it.

        Once more if a busy computer held up one of the processes for longer than it may be: without priority that happens.
        """
        for _ in range(5):
            self._rise(rise_s)
            time.sleep(hold_s)
            if self.faults not in (DriverFault.COMMAND_LOST, DriverFault.STATE_LOST, DriverFault.STALLED):
                return
            print(f"held up ({fault_names(self.faults)}), once more")
            self.rest()

    def _rise(self, rise_s):
        start, steps = self.driver.read().joint_pos, round(rise_s / go1.CONTROL_DT)
        start = np.clip(start, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER)
        for share in np.linspace(0.0, 1.0, steps):
            self.command = JointCommand(start + share * (go1.DEFAULT_JOINT_POS - start), 20.0 * ALL, 0.5 * ALL)
            time.sleep(go1.CONTROL_DT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(PATIENCE_S)


@pytest.fixture(scope="module")
def module_robot():
    with RobotProcess() as robot:
        yield robot


@pytest.fixture
def robot(module_robot):
    """A robot that lies on its belly and is well."""
    module_robot.order(**SOUND, lie_down=True)
    yield module_robot
    module_robot.order(**SOUND)


@pytest.fixture
def driver(robot):
    driver = Go1Driver(robot.config)
    driver.connect()
    yield driver
    driver.close()


@pytest.fixture
def hand(driver):
    with Hand(driver) as hand:
        hand.rest()
        yield hand


@pytest.fixture
def standing(hand, robot):
    hand.stand()
    assert hand.driver.status.phase is Phase.FOLLOW and hand.faults == NO_FAULT
    assert robot.truth()["received"][-1]["mode"] == "torque"
    return hand


def newest(robot):
    return robot.truth()["received"][-1]


def damped_after(robot, since_s, bound_s):
    """Waits until the robot is damped for good; returns how long after `since_s` that began."""
    until(lambda: newest(robot)["mode"] == "damping", timeout_s=max(PATIENCE_S, bound_s))
    time.sleep(0.1)
    received = robot.truth()["received"]
    assert received[-1]["mode"] == "damping"  # and so it stays
    after_s = received[-1]["stamp_s"] - since_s
    assert after_s < bound_s
    return after_s


# A session as it should be.


def test_connecting_takes_moments_and_gives_no_torque(robot):
    begin_s = time.monotonic()
    with Go1Driver(robot.config) as driver:
        took_s = time.monotonic() - begin_s
        print(f"connected after {took_s:.2f} s")
        assert took_s < 5.0
        state = driver.read()
        assert isinstance(state, RobotState) and abs(state.stamp_s - time.monotonic()) < 0.5
        assert (state.joint_pos[2::3] < -2.3).all() and abs(state.quaternion_wxyz[0]) > 0.98  # on its belly, its legs folded
        assert driver.status.guarded and driver.status.phase is Phase.SINK and driver.status.battery_percent == 80
        assert driver.status.max_temperature == 40
        assert newest(robot)["mode"] == "damping"


def test_what_is_written_arrives_at_the_robot_joint_by_joint(hand, robot):
    target = go1.DEFAULT_JOINT_POS + 0.01 * np.arange(12)
    hand.command = JointCommand(target, np.full(12, go1.KP), np.full(12, go1.KD))
    until(lambda: np.allclose(robot.truth()["joint_pos_target"], target, atol=1e-6))
    truth = robot.truth()
    np.testing.assert_allclose(truth["kp"], hand.command.kp, rtol=1e-6)
    np.testing.assert_allclose(truth["kd"], hand.command.kd, rtol=1e-6)


@pytest.mark.parametrize("joint", [0, 8])
def test_a_joint_that_is_told_to_move_is_the_one_that_moves(hand, joint):
    time.sleep(0.1)
    hold = np.clip(hand.driver.read().joint_pos, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER)
    hand.command = JointCommand(hold, go1.KP * ALL, go1.KD * ALL)
    time.sleep(0.5)  # until it lies still under torque
    before = hand.driver.read().joint_pos
    step = np.where(np.arange(12) == joint, -0.5 if joint % 3 == 1 else 0.5, 0.0)
    hand.command = JointCommand(np.clip(hold + step, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER), go1.KP * ALL, go1.KD * ALL)
    time.sleep(0.5)
    moved = hand.driver.read().joint_pos - before
    of_legs = np.abs(moved).reshape(4, 3).max(axis=1)
    assert np.argmax(of_legs) == joint // 3 and moved[joint] * np.sign(step[joint]) > 0.05


def test_the_robot_stands_up_holds_and_is_left_damped(hand, robot):
    hand.stand(1.5, hold_s=1.0)
    assert fault_names(hand.faults) == "" and hand.driver.status.phase is Phase.FOLLOW
    truth = robot.truth()
    assert truth["base_pos_w"][2] > 0.22 and truth["quaternion_wxyz"][0] > 0.99
    assert np.abs(truth["base_lin_vel_w"]).max() < 0.1
    np.testing.assert_allclose(hand.driver.read().joint_pos, go1.DEFAULT_JOINT_POS, atol=0.5)  # it gives way under its weight
    hand.over.set()
    hand.join()
    begin_s = time.monotonic()
    hand.driver.close()
    assert time.monotonic() - begin_s < 1.0
    assert newest(robot)["mode"] == "damping"
    np.testing.assert_array_equal(robot.truth()["kd"], DAMPING_KD * ALL)
    assert robot.truth()["violations"] == 0
    hand.driver.close()  # idempotent


def test_a_robot_that_never_had_torque_is_left_without(driver, robot):
    until(lambda: driver.status.phase is Phase.IDLE)
    for command in (PASSIVE, SINKING):
        driver.write(command)
        time.sleep(0.05)
    begin_s = robot.truth()["now_s"]
    driver.close()
    received = [entry for entry in robot.truth()["received"] if entry["stamp_s"] > begin_s]
    assert not received and newest(robot)["mode"] == "none"  # nothing new


@pytest.mark.parametrize("after", [Phase.SINK, Phase.IDLE])
def test_a_session_that_ends_before_the_robot_stood_up_leaves_it_without_torque_once_it_must_lie(session, robot, after):
    until(lambda: session.cycle.driver.status.phase is after)
    time.sleep(0.2)
    session.close()
    assert session.cycle.loop.mode is Mode.DAMPING
    session.cycle.driver.close()
    assert newest(robot)["mode"] == ("damping" if after is Phase.SINK else "none")


def test_a_robot_that_stands_by_the_last_command_of_a_stream_that_was_killed_is_let_down_slowly(standing, robot):
    standing.stand(1.0, hold_s=0.5)
    for name in ("guardian", "stream"):
        os.kill(standing.driver.pids[name], signal.SIGKILL)
    standing.over.set()
    standing.join()
    standing.driver.close()
    truth = robot.truth()
    assert truth["received"][-1]["mode"] == "torque" and truth["base_pos_w"][2] > 0.22
    with Go1Driver(robot.config) as driver:
        fastest, end_s = 0.0, time.monotonic() + SINKING_S + 0.2
        while time.monotonic() < end_s:
            driver.write(PASSIVE)
            truth = robot.truth()
            fastest = min(fastest, truth["base_lin_vel_w"][2])
            time.sleep(0.002)
        print(f"it came down with up to {-fastest:.2f} m/s, to {truth['base_pos_w'][2]:.2f} m")
        assert -0.6 < fastest < -0.1 and truth["base_pos_w"][2] < 0.1
        assert driver.status.phase is Phase.IDLE and newest(robot)["mode"] == "none"


def test_fresh_states_come_and_their_stamps_go_on(hand):
    hand.states.clear()
    time.sleep(1.0)
    stamps = np.array([state.stamp_s for state in hand.states])
    assert len(stamps) > 20 and (np.diff(stamps) > 0).mean() > 0.9 and (np.diff(stamps) >= 0).all()
    print(f"oldest state of {len(stamps)}: {1e3 * np.diff(stamps).max():.0f} ms after the one before; {hand.driver.status}")


def test_a_command_that_is_no_number_is_refused_before_it_is_sent(driver):
    for part, bad in itertools.product(("joint_pos_target", "kp", "kd"), (np.nan, np.inf, -np.inf)):
        with pytest.raises(DriverError, match="not a number; nothing was sent"):
            driver.write(replace(SINKING, **{part: np.where(np.arange(12) == 3, bad, 0.0)}))
    time.sleep(0.05)
    assert driver.status.phase in RESTING and not driver.read().faults


def test_a_command_beyond_a_joint_limit_damps(standing, robot):
    begin_s = time.monotonic()
    standing.command = JointCommand(go1.JOINT_POS_UPPER + 0.1, 20.0 * ALL, 0.5 * ALL)
    damped_after(robot, begin_s, 0.5)
    assert standing.faults == DriverFault.COMMAND_BROKEN
    assert robot.truth()["violations"] == 0


def test_a_library_that_complains_in_every_cycle_fills_no_disk(robot):
    with Go1Driver(replace(robot.config, module="tests.robot.unitree.loud_sdk")) as driver:
        until(lambda: driver.status.cycles > 100)
        assert os.fstat(driver._complaints.fileno()).st_size < 1000


# Who may not connect.


def test_before_connecting_nothing_works_but_closing(robot):
    driver = Go1Driver(robot.config)
    for call in (driver.read, lambda: driver.write(PASSIVE), lambda: driver.status):
        with pytest.raises(DriverError, match=r"not connected; call connect\(\) first"):
            call()
    driver.close()


def test_a_second_controller_is_refused_until_the_first_has_closed(driver, robot):
    second = Go1Driver(robot.config)
    with pytest.raises(DriverError, match=rf"another controller \(process {os.getpid()}\) drives this robot; stop it first"):
        second.connect()
    with pytest.raises(DriverError, match="another controller"):
        driver.connect()
    assert driver.read().faults == NO_FAULT  # the first does not notice
    driver.close()
    second.connect()
    assert second.read().faults == NO_FAULT
    second.close()


def test_a_robot_that_does_not_answer(robot, monkeypatch):
    monkeypatch.setattr(driver_module, "ANSWER_TIMEOUT_S", 0.5)
    robot.order(silent=True)
    driver, before = Go1Driver(robot.config), children()
    with pytest.raises(DriverError, match=r"the Go1 at 127.0.0.1:\d+ does not answer; check the cable") as error:
        driver.connect()
    assert "\n" not in str(error.value) and children() == before
    robot.order(silent=False)
    driver.connect()  # the same driver, once the robot is there
    driver.close()


def test_a_module_that_is_missing(robot):
    before = children()
    with pytest.raises(DriverError, match="the module no_such_sdk cannot be imported") as error:
        Go1Driver(replace(robot.config, module="no_such_sdk")).connect()
    assert "\n" not in str(error.value) and children() == before


def test_an_address_that_is_taken(robot):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        address = Address("127.0.0.1", robot.config.address.port, taken.getsockname()[1])
        with pytest.raises(DriverError, match=r"the stream ended at once: .*Address already in use"):
            Go1Driver(replace(robot.config, address=address)).connect()


@pytest.mark.parametrize("level", [0, 11, -1])
def test_a_power_level_that_there_is_not(level):
    with pytest.raises(DriverError, match="power level"):
        Go1Config(power_level=level)


# What breaks: the robot's side. Each damps a robot that stands and is told by its name.

ORDERS = {
    "silent": DriverFault.STATE_LOST,
    "frozen": DriverFault.STATE_LOST,
    "garbled": DriverFault.STATE_LOST,
    "nan": DriverFault.STATE_BROKEN,
    "unpowered_imu": DriverFault.STATE_BROKEN,
    "remote_stop": DriverFault.REMOTE_STOP,
    "overheated": DriverFault.MOTOR_HOT,
}
SETTINGS = {
    "remote off": ({"remote": False}, DriverFault.REMOTE_LOST),
    "empty battery": ({"battery_percent": 4}, DriverFault.BATTERY),
    "hot": ({"temperature": 81}, DriverFault.MOTOR_HOT),
} | {name: ({name: True}, fault) for name, fault in ORDERS.items()}


@pytest.fixture(scope="class")
def shared_hand(module_robot):
    """One connection for all faults of the robot: whoever gets it brings it to rest first."""
    with Go1Driver(module_robot.config) as driver, Hand(driver) as hand:
        yield hand


class TestFaultsOfTheRobot:
    @pytest.mark.parametrize("name", list(SETTINGS))
    def test_a_fault_of_the_robot_damps_it(self, shared_hand, robot, name):
        orders, fault = SETTINGS[name]
        shared_hand.rest()
        shared_hand.stand(0.2)
        until(lambda: newest(robot)["mode"] == "torque")
        begin_s = robot.order(**orders)["now_s"]
        after_s = damped_after(robot, begin_s, 1.5 if fault is DriverFault.REMOTE_LOST else 0.5)
        print(f"{name}: damped after {1e3 * after_s:.0f} ms")
        assert shared_hand.faults == fault and shared_hand.driver.status.phase is Phase.DAMPING
        robot.order(**SOUND)
        time.sleep(0.1)
        assert newest(robot)["mode"] == "damping"  # though it is well again: a person has to look first

    @pytest.mark.parametrize("name", [*SETTINGS, "low battery"])
    def test_a_fault_that_lasts_forbids_to_stand_up(self, shared_hand, robot, name):
        orders, fault = SETTINGS.get(name, ({"battery_percent": 14}, DriverFault.BATTERY))
        shared_hand.rest()
        robot.order(**orders)
        until(lambda: shared_hand.faults == fault)
        assert shared_hand.driver.status.phase in RESTING and newest(robot)["mode"] != "torque"
        shared_hand.command = JointCommand(PRONE_JOINT_POS, 20.0 * ALL, 0.5 * ALL)
        until(lambda: shared_hand.driver.status.phase is Phase.DAMPING)
        assert "torque" not in [entry["mode"] for entry in robot.truth()["received"] if entry["stamp_s"] > robot.truth()["now_s"] - 0.2]


@pytest.mark.parametrize("stands", [False, True])
def test_a_robot_that_started_anew_gets_no_torque_without_a_new_connection(hand, robot, stands):
    if stands:
        hand.stand(0.2)
        until(lambda: newest(robot)["mode"] == "torque")
    begin_s = robot.order(restarted=True)["now_s"]
    if stands:
        damped_after(robot, begin_s, 0.5)
    until(lambda: hand.faults == DriverFault.RESTARTED)
    hand.command = PASSIVE
    until(lambda: hand.driver.status.phase in RESTING)
    time.sleep(0.1)
    assert hand.faults == DriverFault.RESTARTED
    since_s, hand.command = robot.truth()["now_s"], JointCommand(PRONE_JOINT_POS, 20.0 * ALL, 0.5 * ALL)
    until(lambda: hand.driver.status.phase is Phase.DAMPING)
    time.sleep(0.1)
    assert hand.faults == DriverFault.RESTARTED
    assert "torque" not in [entry["mode"] for entry in robot.truth()["received"] if entry["stamp_s"] > since_s]
    hand.over.set()
    hand.join()
    hand.driver.close()
    hand.driver.connect()
    assert hand.driver.read().faults == NO_FAULT


def test_a_robot_that_comes_back_is_told_nothing_but_to_damp(standing, robot):
    robot.order(silent=True)
    until(lambda: standing.faults == DriverFault.STATE_LOST)
    robot.order(silent=False)
    time.sleep(0.3)
    assert newest(robot)["mode"] == "damping"
    standing.command = PASSIVE
    until(lambda: standing.driver.status.phase is Phase.IDLE)
    standing.stand()
    assert newest(robot)["mode"] == "torque"


# With the supervisor in the control process: the whole way, as a session goes it.


@pytest.fixture
def session(driver, monkeypatch):
    monkeypatch.setattr(control_thread, "prioritise", lambda priority: hurry())
    thread = ControlThread(ControlCycle(driver, StillVelocity(), ControlLoop(StillPolicy(), Supervisor(20.0, 0.5)), RealTime()))
    thread.start()
    yield thread
    thread.close()


def test_a_session_stands_up_is_stopped_by_the_remote_and_stands_up_again(session, robot):
    loop = session.cycle.loop
    session.call(lambda: stand_up(session.cycle))
    assert loop.mode is Mode.READY
    begin_s = robot.order(remote_stop=True)["now_s"]
    until(lambda: loop.mode is Mode.DAMPING)
    assert loop.supervisor.cause == SafetyEvent.DRIVER and session.cycle.state.faults == DriverFault.REMOTE_STOP
    print(f"the remote's button: damped after {1e3 * damped_after(robot, begin_s, 0.5):.0f} ms")
    robot.order(remote_stop=False)
    time.sleep(0.1)
    assert newest(robot)["mode"] == "damping"
    until(lambda: not loop.supervisor.sinking)
    session.call(loop.rearm)
    until(lambda: newest(robot)["mode"] == "none")
    session.call(lambda: stand_up(session.cycle))
    assert loop.mode is Mode.READY and robot.truth()["violations"] == 0


def test_without_a_remote_a_session_does_not_stand_up(session, robot):
    robot.order(remote=False)
    until(lambda: session.cycle.state is not None and session.cycle.state.faults == DriverFault.REMOTE_LOST)
    with pytest.raises(ModeError, match=r"could not stand up \(DRIVER\)"):
        session.call(lambda: stand_up(session.cycle))
    assert "torque" not in [entry["mode"] for entry in robot.truth()["received"] if entry["stamp_s"] > robot.truth()["now_s"] - 0.2]


def test_a_fall_is_damped_by_the_supervisor(session, robot):
    session.call(lambda: stand_up(session.cycle))
    begin_s = robot.order(tip_over=1.6)["now_s"]
    until(lambda: session.cycle.loop.mode is Mode.DAMPING)
    assert SafetyEvent.TILT in session.cycle.loop.supervisor.cause
    print(f"a fall: damped after {1e3 * damped_after(robot, begin_s, 0.5):.0f} ms")


# What breaks: the processes on this side.


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stream_that_dies_or_freezes_is_replaced_by_its_guardian_which_damps(standing, robot, end):
    port = newest(robot)["port"]
    begin_s = time.monotonic()
    os.kill(standing.driver.pids["stream"], end)
    after_s = damped_after(robot, begin_s, 0.5)
    print(f"the stream got {end.name}: damped after {1e3 * after_s:.0f} ms")
    assert newest(robot)["port"] == port
    until(lambda: DriverFault.DRIVER_LOST in standing.faults)
    assert has_ended(standing.driver.pids["stream"])
    standing.command = PASSIVE
    until(lambda: newest(robot)["mode"] == "none")
    standing.command = JointCommand(PRONE_JOINT_POS, 20.0 * ALL, 0.5 * ALL)  # it does not stand up without a new connection
    until(lambda: newest(robot)["mode"] == "damping")
    assert DriverFault.DRIVER_LOST in standing.faults


def test_a_robot_whose_stream_died_can_be_connected_to_again(standing, robot):
    os.kill(standing.driver.pids["stream"], signal.SIGKILL)
    until(lambda: DriverFault.DRIVER_LOST in standing.faults)
    standing.over.set()
    standing.join()
    standing.driver.close()
    assert newest(robot)["mode"] == "damping"
    standing.driver.connect()
    assert standing.driver.read().faults == NO_FAULT and standing.driver.status.guarded


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_guardian_that_dies_or_freezes_is_missed_but_a_robot_that_walks_walks_on(standing, robot, end):
    os.kill(standing.driver.pids["guardian"], end)
    begin_s = time.monotonic()
    until(lambda: not standing.driver.status.guarded)
    print(f"the guardian got {end.name}: missed after {1e3 * (time.monotonic() - begin_s):.0f} ms")
    time.sleep(0.2)
    assert newest(robot)["mode"] == "torque" and standing.faults == NO_FAULT
    standing.command = PASSIVE
    until(lambda: standing.faults == DriverFault.GUARDIAN_LOST)
    standing.command = JointCommand(PRONE_JOINT_POS, 20.0 * ALL, 0.5 * ALL)
    until(lambda: standing.driver.status.phase is Phase.DAMPING)
    assert newest(robot)["mode"] != "torque"


def test_a_computer_that_sleeps_is_no_reason_for_the_guardian_to_kill_the_stream(standing, robot):
    pids = [standing.driver.pids[name] for name in ("guardian", "stream")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    until(lambda: standing.driver.status.phase is Phase.DAMPING)
    time.sleep(0.3)
    assert DriverFault.STALLED in standing.faults and DriverFault.DRIVER_LOST not in standing.faults
    assert not any(has_ended(pid) for pid in pids)


def test_a_driver_whose_processes_are_all_gone_can_be_closed_and_its_state_grows_old(standing):
    for name in ("guardian", "stream"):  # in this order, so that nobody takes the stream's place
        os.kill(standing.driver.pids[name], signal.SIGKILL)
    time.sleep(0.2)
    assert time.monotonic() - standing.driver.read().stamp_s > 0.1
    standing.over.set()
    standing.join()
    standing.driver.close()


def test_a_control_process_that_falls_silent_is_waited_for_and_then_damped(standing, robot):
    standing.over.set()
    standing.join()
    standing.driver.write(standing.command)
    begin_s, phases = time.monotonic(), [Phase.FOLLOW]
    while phases[-1] is not Phase.DAMPING:
        assert time.monotonic() - begin_s < PATIENCE_S
        phase = standing.driver.status.phase
        if phase is not phases[-1]:
            phases.append(phase)
        time.sleep(0.002)
    assert phases in ([Phase.FOLLOW, Phase.HOLD, Phase.DAMPING], [Phase.FOLLOW, Phase.DAMPING])
    after_s = damped_after(robot, begin_s, 0.5)
    print(f"no commands: damped after {1e3 * after_s:.0f} ms")
    assert after_s > 0.14 and standing.faults == DriverFault.COMMAND_LOST


CONTROLLER = """
import json, sys, time
import numpy as np
from robot import go1
from robot.driver import JointCommand
from common.realtime import Priority, prioritise
from robot.unitree.driver import Go1Config, Go1Driver
from robot.unitree.sdk_port import Address

ip, port, local_port, module = sys.argv[1:]
driver = Go1Driver(Go1Config(Address(ip, int(port), int(local_port)), module=module))
driver.connect()
prioritise(70)
start, ones, step = np.clip(driver.read().joint_pos, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER), np.ones(12), 0
while True:
    share = min(step / 20, 1.0)
    driver.write(JointCommand(start + share * (go1.DEFAULT_JOINT_POS - start), 20 * ones, 0.5 * ones))
    if step == 30:
        print(json.dumps(driver.pids), flush=True)
    step += 1
    time.sleep(0.02)
"""


@pytest.fixture
def controller(robot, root):
    """Another process that holds the robot standing; `pids` are those of its driver."""
    address = robot.config.address
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, address.ip, str(address.port), str(address.local_port), robot.config.module],
        cwd=root, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.pids = json.loads(process.stdout.readline())
    assert newest(robot)["mode"] == "torque"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    for name in ("guardian", "stream"):  # it takes them seconds to end by themselves, see below
        if not has_ended(process.pids[name]):
            os.kill(process.pids[name], signal.SIGKILL)
    until(lambda: all(has_ended(pid) for pid in process.pids.values()))


def test_a_control_process_that_is_killed(controller, robot):
    begin_s = time.monotonic()
    controller.kill()
    after_s = damped_after(robot, begin_s, 0.3)
    print(f"the control process was killed: damped after {1e3 * after_s:.0f} ms")
    controller.wait()
    with pytest.raises(DriverError, match=rf"process {controller.pid}\) has died and its robot is still being damped"):
        Go1Driver(robot.config).connect()
    until(lambda: all(has_ended(pid) for pid in controller.pids.values()), timeout_s=15.0)  # orphans end by themselves
    print(f"its orphans ended after {time.monotonic() - begin_s:.1f} s")
    assert newest(robot)["mode"] == "damping"
    with Go1Driver(robot.config) as successor:
        assert successor.read().faults == NO_FAULT


def test_a_control_process_that_freezes_and_thaws(controller, robot):
    begin_s = time.monotonic()
    os.kill(controller.pid, signal.SIGSTOP)
    after_s = damped_after(robot, begin_s, 0.3)
    print(f"the control process froze: damped after {1e3 * after_s:.0f} ms")
    assert after_s > 0.1  # it was held first, for as long as a control process may be late
    os.kill(controller.pid, signal.SIGCONT)
    time.sleep(0.5)
    assert newest(robot)["mode"] == "damping"  # though it goes on commanding


def test_a_control_process_and_its_stream_that_are_killed_together(controller, robot):
    begin_s = time.monotonic()
    os.kill(controller.pids["stream"], signal.SIGKILL)
    controller.kill()
    after_s = damped_after(robot, begin_s, 0.5)
    print(f"the control process and the stream were killed: damped after {1e3 * after_s:.0f} ms")


def test_a_ctrl_c_or_a_polite_kill_does_not_reach_the_processes_at_the_motors(standing, robot):
    for pid in standing.driver.pids.values():
        assert os.getpgid(pid) != os.getpgid(0)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    assert newest(robot)["mode"] == "torque" and standing.driver.status.guarded and standing.faults == NO_FAULT


def test_nothing_is_left_after_many_connections(robot):
    Go1Driver(robot.config).close()
    files, processes, threads = open_files(), children(), threading.active_count()
    for _ in range(5):
        driver = Go1Driver(robot.config)
        driver.connect()
        pids = driver.pids
        driver.write(PASSIVE)
        driver.close()
        assert all(has_ended(pid) for pid in pids.values()) and not driver.pids
    del driver
    assert open_files() == files and children() == processes and threading.active_count() == threads
