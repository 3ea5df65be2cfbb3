"""One controller for a robot: a lock that the operating system gives back whatever its holder dies of."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from robot.driver import DriverError

DIRECTORY = Path("/tmp")  # noqa: S108  the same for everybody on this computer, whatever TMPDIR says; no link is followed there


class Exclusive:
    """A lock by name among all processes of this computer. Children that inherit `fd` keep it until the last of them ends."""

    def __init__(self, name: str) -> None:
        self._path = DIRECTORY / f"quadloop-{name}.lock"
        self.fd = -1

    def acquire(self) -> None:
        """Take it; DriverError that names the holder if somebody else has it."""
        try:
            fd = _opened(self._path)
        except OSError as error:
            raise DriverError(f"the lock {self._path} cannot be opened ({error.strerror})") from error
        try:
            self._hold(fd)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd

    def _hold(self, fd: int) -> None:
        """Lock the open file and sign it; DriverError if either is not possible."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DriverError(_refusal(os.read(fd, 32).decode(errors="replace").strip())) from error
        try:
            os.ftruncate(fd, 0)
            os.write(fd, str(os.getpid()).encode())
        except OSError as error:
            raise DriverError(f"the lock {self._path} cannot be signed ({error.strerror})") from error

    def release(self) -> None:
        """Give it back. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _opened(path: Path) -> int:
    """Everybody may lock it, whoever made it. Made only if it is not there: a system may forbid to make what somebody else has made."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        fd = os.open(path, flags | os.O_CREAT)
        os.fchmod(fd, 0o666)
        return fd


def _refusal(holder: str) -> str:
    """One line for who is refused because of the process `holder`, whose children may keep the lock a little longer than it lives."""
    if holder.isdecimal() and not Path("/proc", holder).exists():
        return f"the controller before (process {holder}) has died and its robot is still being damped; try again in some seconds"
    return f"another controller (process {holder or 'unknown'}) drives this robot; stop it first"
