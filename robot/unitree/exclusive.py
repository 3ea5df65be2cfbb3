"""One controller for a robot: a lock that the operating system gives back whatever its holder dies of."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from robot.driver import DriverError


class Exclusive:
    """A lock by name among all processes of this computer. Children that inherit `fd` keep it until the last of them ends."""

    def __init__(self, name: str) -> None:
        self._path = Path(tempfile.gettempdir()) / f"quadloop-{name}.lock"
        self.fd = -1

    def acquire(self) -> None:
        """Take it; DriverError that names the holder if somebody else has it."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise DriverError(f"the lock {self._path} cannot be opened ({error.strerror})") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 32).decode(errors="replace").strip()
            os.close(fd)
            raise DriverError(_refusal(holder)) from error
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self.fd = fd

    def release(self) -> None:
        """Give it back. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _refusal(holder: str) -> str:
    """One line for who is refused because of the process `holder`, whose children may keep the lock a little longer than it lives."""
    if holder.isdecimal() and not Path("/proc", holder).exists():
        return f"the controller before (process {holder}) has died and its robot is still being damped; try again in some seconds"
    return f"another controller (process {holder or 'unknown'}) drives this robot; stop it first"
