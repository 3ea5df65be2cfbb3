"""What is wrong with the robot's answers: each rule with its threshold. The clocks are passed in."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from robot.driver import NO_FAULT, DriverFault
from robot.safety import is_rotation, joints_plausible
from robot.unitree import remote
from robot.unitree.sdk_port import OVERHEATED, SERVO, TICKS

STATE_AFTER_S = 0.06  # without a new answer, or that answers are late; three control periods
CLOCKS_APART = 0.02  # share by which the robot's clock and ours may run apart: crystals do by 1e-4, what counts its own cycles by more
LATE_FADES = 1e-3  # share by which what is known fades while answers come late, ten times what crystals run apart
SILENCE_S = 1.0  # after which the robot may have been off
BEHIND_S = 1.0  # by which a clock fell behind ours in such a silence if it began anew, at least: no Go1 starts within a second
BEHIND_SHARE = 1e-3  # and by that share of the silence, ten times what crystals run apart
CATCHING_UP_S = 1.0  # after a silence, for answers that waited on the way: they look as old as a clock that began anew
REMOTE_AFTER_S = 0.5
STALL_AFTER_S = 0.1  # between two cycles of the stream; its guardian waits as long
MAX_TEMPERATURE = 80  # degrees centigrade, chosen: the vendor's overheat mode is the last resort
BATTERY_TO_START, BATTERY_TO_GO_ON = 15, 5  # percent, chosen
STUCK_CYCLES = 100  # 0.2 s at 500 Hz in which no sensor changed by one bit: sensors that work are never so quiet
MODE_CYCLES = 50  # 0.1 s at 500 Hz: how long a motor may take to enter the mode that it is told
_NUMBERS = ("joint_pos", "joint_vel", "quaternion_wxyz", "joint_torque", "gyro_b", "accelerometer_b")
_RESTLESS = ("joint_vel", "gyro_b", "accelerometer_b")


class Lateness:
    """How late the robot's answers are: an answer that waited in a queue is new to us, and old all the same.

    Only the robot's clock tells an answer's age, and the offset between that clock and ours is known only from the quickest answer so far.
    The known offset drifts by CLOCKS_APART, so that two clocks which run at different rates do not make answers late; the price is that a
    delay which grows more slowly than that is not seen. While answers are late it drifts by LATE_FADES only, so that a queue which stands
    still is not forgotten; after a late spell, clocks that differ by more than LATE_FADES stay late until a new connection.

    `fell_behind` says whether the robot's clock ever fell behind during a silence: the robot was restarted.
    """

    def __init__(self) -> None:
        self.fell_behind = False
        self._sent_s, self._seen_s, self._least_s = -math.inf, -math.inf, math.inf
        self._new_s = math.nan  # when the newest answer was new
        self._silence: tuple[float, float] | None = None  # when the last answer before it was new, and when it was sent; until judged
        self._heard_s = math.nan  # when that silence ended

    def of(self, sent_s: float, now: float) -> float:
        """The lateness, s, at `now` of the newest answer, sent at `sent_s`, s by the robot's clock; too small by a cycle, never too large.

        When an answer came is not known exactly: this process may be held up between reading its clock and receiving, and would then take
        all later answers for late. So the offset is taken from the answer before, which had come by `now`.
        """
        if sent_s != self._sent_s:
            if self._seen_s - self._new_s > SILENCE_S:  # looked for in vain for so long: our own queue would have been emptied
                self._silence, self._heard_s = self._silence or (self._new_s, self._sent_s), now
            self._new_s = now
            self._judge_silence(sent_s, now)  # by answers alone: while there is none every clock falls behind
        come_late = now - self._new_s <= STATE_AFTER_S < now - sent_s - self._least_s
        fading = LATE_FADES if come_late else CLOCKS_APART
        self._least_s = min(self._least_s + fading * (now - self._seen_s), now - self._sent_s)
        self._sent_s, self._seen_s = sent_s, now
        return now - sent_s - self._least_s

    def _judge_silence(self, sent_s: float, now: float) -> None:
        """The robot did not restart if its clock is where it should be; it did if the clock is still behind once the queue has emptied."""
        if self._silence is None:
            return
        new_s, before_s = self._silence
        if now - new_s - (sent_s - before_s) <= BEHIND_S + BEHIND_SHARE * (self._heard_s - new_s):
            self._silence = None
        elif now - self._heard_s > CATCHING_UP_S:
            self.fell_behind = True


class Watch:
    """Remembers what the rules need of the past. `stamp_s` is when the newest answer came, NaN while there was none."""

    def __init__(self) -> None:
        self.stamp_s = math.nan
        self._tick, self._ticks = 0, 0  # the newest, and how many have passed
        self._restarted = False
        self._lateness = Lateness()
        self._remote_s = -math.inf
        self._cycle_s = math.nan
        self._odd_modes = 0
        self._sensed, self._quiet = b"", 0  # what was measured last, and how many cycles ago that was new

    def faults(self, reading: NDArray[Any], now: float, boot_s: float, moving: bool) -> DriverFault:
        """The faults of this moment, from the newest answer (READING); `moving` says whether the motors have been given torque.

        `now` is of time.monotonic, `boot_s` of CLOCK_BOOTTIME, which goes on, as the robot does, while the computer is suspended.
        """
        faults = self._stall(boot_s) | self._tick_faults(int(reading["tick"]), now, boot_s)
        if math.isnan(self.stamp_s):
            return faults
        faults |= self._remote_faults(reading["remote"], now)
        if self._is_stuck(reading, moving) or not _is_plausible(reading):
            faults |= DriverFault.STATE_BROKEN
        if reading["battery_percent"] < (BATTERY_TO_GO_ON if moving else BATTERY_TO_START):
            faults |= DriverFault.BATTERY
        return faults | self._motor_faults(reading, moving)

    def _stall(self, boot_s: float) -> DriverFault:
        gap = boot_s - self._cycle_s  # NaN in the first cycle
        self._cycle_s = boot_s
        return DriverFault.STALLED if gap > STALL_AFTER_S or gap < 0 else NO_FAULT

    def _tick_faults(self, tick: int, now: float, boot_s: float) -> DriverFault:
        """The robot's clock must go on, as fast as ours; it starts with the first answer that is not the zeros of an empty LowState.

        That it began anew is never forgotten: a Go1 starts with the vendor's sport mode, which stands up by itself and must not command
        the legs while we do. Only a person can put that right, and connects again.
        """
        begun, passed = not math.isnan(self.stamp_s), (tick - self._tick) % TICKS
        if not (begun or passed):
            return DriverFault.STATE_LOST
        if passed:
            self._tick, self._ticks, self.stamp_s = tick, self._ticks + passed, now
        late_s = self._lateness.of(self._ticks * 1e-3, boot_s)
        self._restarted |= self._lateness.fell_behind or (begun and passed >= TICKS // 2)
        fresh = now - self.stamp_s <= STATE_AFTER_S and late_s <= STATE_AFTER_S
        return (NO_FAULT if fresh else DriverFault.STATE_LOST) | (DriverFault.RESTARTED if self._restarted else NO_FAULT)

    def _remote_faults(self, buttons: NDArray[Any], now: float) -> DriverFault:
        if remote.is_present(buttons):
            self._remote_s = now
        lost = now - self._remote_s > REMOTE_AFTER_S
        stop = DriverFault.REMOTE_STOP if remote.asks_to_stop(buttons) else NO_FAULT
        return stop | (DriverFault.REMOTE_LOST if lost else NO_FAULT)

    def _is_stuck(self, reading: NDArray[Any], moving: bool) -> bool:
        """A robot whose clock goes on while its sensors do not."""
        sensed = b"".join(reading[name].tobytes() for name in _RESTLESS)
        self._quiet = self._quiet + 1 if moving and sensed == self._sensed else 0
        self._sensed = sensed
        return self._quiet >= STUCK_CYCLES

    def _motor_faults(self, reading: NDArray[Any], moving: bool) -> DriverFault:
        modes = reading["motor_mode"]
        self._odd_modes = self._odd_modes + 1 if moving and (modes != SERVO).any() else 0
        hot = (reading["motor_temperature"] > MAX_TEMPERATURE).any() or (modes == OVERHEATED).any()
        odd = DriverFault.MOTOR_MODE if self._odd_modes > MODE_CYCLES else NO_FAULT
        return odd | (DriverFault.MOTOR_HOT if hot else NO_FAULT)


def _is_plausible(reading: NDArray[Any]) -> bool:
    """Numbers, a quaternion that is a rotation, joints where a Go1 can have them."""
    numbers = [reading[name].tolist() for name in _NUMBERS]
    if not all(map(math.isfinite, chain.from_iterable(numbers))):
        return False
    joint_pos, joint_vel, quaternion_wxyz = numbers[:3]
    return is_rotation(quaternion_wxyz) and joints_plausible(joint_pos, joint_vel)
