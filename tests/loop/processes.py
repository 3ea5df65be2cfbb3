"""Processes of a verb, told by a mark in their environment that all it starts inherit."""

from pathlib import Path

MARK = "QUADLOOP_REHEARSAL"


def marked(mark):
    """Commands of the processes, wherever they were started from, that have inherited this mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has just ended
            continue
    return [command for command in found if command]
