"""Run a command that prints one JSON object and keep what it printed, with the command, the revision and the time it took.

python benchmarks/record.py results/NAME.json -- quadloop evaluate --policy ... --json
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from common.files import write_json
from common.revision import git_revision


def main() -> int:
    """Exit status of the command; nothing is written if it failed or printed no JSON object."""
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print(__doc__, file=sys.stderr)
        return 2
    target, command = Path(sys.argv[1]), sys.argv[3:]
    began, revision = time.monotonic(), git_revision()  # of the code that runs, whatever is committed meanwhile
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return done.returncode
    record = {"command": shlex.join(command), "revision": revision, "seconds": round(time.monotonic() - began, 1)}
    write_json(target, record | {"result": json.loads(done.stdout)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
