"""The control process of a rehearsal with a robot that stands up in half a second and may soon be armed again: see walker.py."""

import sys

from loop.inject import walker
from robot import control_loop, supervisor

if __name__ == "__main__":
    control_loop.STAND_TIME_S = 0.5
    supervisor.SINKING_S = 0.1
    sys.exit(walker.main(sys.argv[1:]))
