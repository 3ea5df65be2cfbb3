"""What the node answers about an episode's log: whether it is really on disk, or what is in the way."""

from __future__ import annotations

import time
from pathlib import Path

from robot.log.recorder import Recorder

FIRST_ROW_TIMEOUT_S = 1.0
WRITTEN_TIMEOUT_S = 10.0  # a log of ten minutes takes about a second
POLL_S = 0.005
SLOW_DISK = "the disk is too slow"


class EpisodeRecording:
    """One episode's log at `path`; made before the episode begins. Without a recorder or a path nothing is recorded.

    Both methods wait for the recorder: not for the control thread.
    """

    def __init__(self, recorder: Recorder | None, path: Path | None) -> None:
        self.path, self._recorder = path, recorder
        self._before = recorder.status if recorder is not None else None

    def begun(self) -> str:
        """Whether the first row is on disk, once the policy acts."""
        recorder, before = self._recorder, self._before
        if recorder is None or before is None or self.path is None:
            return "nothing is recorded"
        error, end_s = "", time.monotonic() + FIRST_ROW_TIMEOUT_S
        while not error and time.monotonic() < end_s:
            status = recorder.status
            if status.rows_written > before.rows_written:
                return f"recorded to {self.path}"
            error = status.error if status.error != before.error else ""  # not that of an episode before
            time.sleep(POLL_S)
        return f"it is NOT recorded: {error or SLOW_DISK}"

    def finished(self) -> str:
        """Whether the log is whole on disk, once the episode is over and has had a step."""
        if self._recorder is None or self.path is None:
            return "nothing was recorded"
        if self._recorder.wait_finished(WRITTEN_TIMEOUT_S):
            return f"recorded to {self.path}"
        return f"the log is NOT whole: {self._recorder.status.error or SLOW_DISK}"
