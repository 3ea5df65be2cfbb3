"""In processes of their own: priority, locked memory and a frozen collector are nothing for a test run to keep."""

import json
import subprocess
import sys

LOOK = """
import json, os, threading
from pathlib import Path
from common.realtime import prioritise

refused = prioritise({priority})
seen = {{"refused": refused, "scheduler": os.sched_getscheduler(0), "priority": os.sched_getparam(0).sched_priority}}
seen["locked_kib"] = int(Path("/proc/self/status").read_text().split("VmLck:")[1].split()[0])
thread = threading.Thread(target=lambda: seen.update(thread=os.sched_getscheduler(0)))
thread.start()
thread.join()
if (child := os.fork()) == 0:
    os._exit(os.sched_getscheduler(0))
seen["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(seen))
"""


def look(root, before="", priority=10):
    run = subprocess.run(
        [sys.executable, "-c", before + LOOK.format(priority=priority)], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


def test_what_is_granted_is_in_force_and_what_is_refused_is_told(root):
    seen = look(root)
    no_priority = any("real-time priority" in line for line in seen["refused"])
    no_memory = any("memory not locked" in line for line in seen["refused"])
    assert len(seen["refused"]) == no_priority + no_memory
    assert (seen["scheduler"] & 0xFF == 1) == (not no_priority)  # SCHED_FIFO
    assert seen["priority"] == (0 if no_priority else 10)
    assert (seen["locked_kib"] > 0) == (not no_memory)


def test_what_a_process_in_a_hurry_starts_is_not_in_a_hurry(root):
    seen = look(root)
    assert seen["thread"] == seen["child"] == 0  # SCHED_OTHER


WITHOUT_RIGHTS = """
import json, os, resource, threading, common.realtime
from pathlib import Path
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
    resource.setrlimit(limit, (0, 0))
"""


def test_without_rights_the_process_runs_and_says_what_to_do(root):
    seen = look(root, WITHOUT_RIGHTS)
    assert seen["scheduler"] == 0 and seen["locked_kib"] == 0
    assert len(seen["refused"]) == 2
    assert "ulimit -r 99" in seen["refused"][0] and "ulimit -l unlimited" in seen["refused"][1]
    assert all("\n" not in line for line in seen["refused"])


def test_a_priority_that_there_is_not_is_refused_and_does_not_raise(root):
    assert any("no real-time priority" in line for line in look(root, priority=1000)["refused"])


def test_the_collector_is_spared_what_exists(root):
    script = "import gc; from common.realtime import spare_the_garbage_collector as spare; spare(); print(gc.get_freeze_count())"
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert int(run.stdout) > 1000
