"""The person beside the robot: is asked before every motion and can end each with a key."""

from __future__ import annotations

import os
import select
import sys
import termios
from concurrent.futures import Future
from typing import Any

POLL_S = 0.1


def at_a_terminal() -> bool:
    """Whether there can be a person: standard input is a terminal, not a file, a pipe or closed."""
    return sys.stdin is not None and sys.stdin.isatty()


class Stopped(Exception):  # noqa: N818  not an error: the person wants to end
    """The person has had enough, or is none; says which."""


class Operator:
    """Asks on standard error, listens to standard input; an end of the input counts as "q"."""

    def __init__(self) -> None:
        self._typed = b""  # and not yet taken
        self.gone = False  # the input has ended

    def confirm(self, what: str) -> None:
        """Wait for Enter alone; Stopped for "q" and Enter. Whatever else is typed is no consent: it is asked again."""
        while True:
            self._forget()
            print(f"{what}\n  [Enter] go on, [q Enter] end here: ", end="", file=sys.stderr, flush=True)
            answer = self._line()
            if answer == "":
                return
            if answer is None and not at_a_terminal():
                raise Stopped("standard input has ended")
            if answer in ("q", None):
                raise Stopped("ended by the operator")

    def tell(self, what: str) -> None:
        """Say something."""
        print(what, file=sys.stderr, flush=True)

    def wait(self, walk: Future[Any]) -> bool:
        """Until `walk` is over, or Enter was pressed or the input ended; True for the latter."""
        while not walk.done():
            if self._typed or select.select([sys.stdin], [], [], POLL_S)[0]:
                self._line()
                return True
        return False

    def _forget(self) -> None:
        """What was typed at a terminal before a question is no answer to it: a bouncing key must not move a robot."""
        if at_a_terminal():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
            self._typed = b""

    def _line(self) -> str | None:
        """The next line, in small letters; None at the end of the input. Not through Python's buffer, into which `select` cannot see."""
        while b"\n" not in self._typed:
            more = os.read(sys.stdin.fileno(), 4096) if sys.stdin is not None else b""
            if not more:
                self.gone = True
                return None
            self._typed += more
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="replace").strip().lower()


class Willing(Operator):
    """Confirms everything: for the twin."""

    def confirm(self, what: str) -> None:
        """Go on."""
        self.tell(what)

    def wait(self, walk: Future[Any]) -> bool:
        """Until `walk` is over."""
        walk.exception()
        return False
