"""What a signal that ended a process is called."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Such as "SIGKILL". Most of the real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
