"""The command table: `quadloop <verb>`. Each verb lives in its own room and is imported only when it is wanted."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import NamedTuple

from common.errors import QuadloopError
from common.extras import missing_extra

# Before torch is imported: threads that spin while they wait take the cores that physics and other programs need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Verb(NamedTuple):
    """What a verb does, and the function `run(arguments: list[str]) -> int` (its exit status) as "module:function"."""

    help: str
    target: str


VERBS = {
    "loop": Verb("run the whole loop on the twin: pretrain, collect, fine-tune offline and online, report", "loop.command:run"),
    "pretrain": Verb("train a walking policy in simulation", "sim_pretrain.command:run"),
    "collect": Verb("walk a robot episode by episode, with a person beside it, and log it", "loop.collect.command:run"),
    "finetune": Verb("improve a policy from robot logs, without the robot", "loop.finetune_command:run"),
    "online": Verb("improve a policy while it walks; in this version on the twin only", "loop.online_command:run"),
    "evaluate": Verb("measure how well a policy follows a command", "twin.command:run"),
    "import": Verb("turn the released Uni-O4 logs and policies into ours", "offline_finetune.import_command:run"),
    "export": Verb("write logs as D4RL's HDF5 or as a Minari dataset", "offline_finetune.export_command:run"),
    "inspect": Verb("say what is in a policy, a log, or a directory of logs", "offline_finetune.inspect_command:run"),
    "replay": Verb("show a recorded walk on the twin, or drive the twin with it", "loop.replay_command:run"),
    "calibrate": Verb("fit the twin's motors and floor to a robot's logs", "loop.calibrate_command:run"),
    "inject": Verb("rehearse a fault on the twin, in real time, and measure how the robot reacts", "loop.inject.command:run"),
    "d4rl": Verb("run the D4RL benchmark with the same learners: tasks, data, offline, online, table", "d4rl_bench.command:run"),
    "doctor": Verb("say what is installed and what is missing for each stage", "common.doctor:run"),
}


HELP = ("-h", "--help")
VERSION = "--version"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit status. Every expected failure is one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] not in (*VERBS, *HELP, VERSION):
        return _fail(f"there is no verb '{arguments[0]}'{_nearest(arguments[0])}; quadloop --help lists them", EXIT_USAGE)
    try:
        if not arguments or arguments[0] in HELP:
            print(usage(), flush=True)
            return 0 if arguments else EXIT_USAGE
        if arguments[0] == VERSION:
            print(version(), flush=True)
            return 0
        return _run(VERBS[arguments[0]], arguments[1:])
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        if (known := missing_extra(error)) is None:
            raise
        return _fail(str(known), EXIT_FAILURE)
    except QuadloopError as error:
        return _fail(str(error), error.exit_status)
    except MemoryError as error:
        return _no_memory(str(error))
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how torch says it
            raise
        return _no_memory(str(error).partition("can't allocate memory: ")[2])
    except OSError as error:  # a disk that is full, a directory that may not be written
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return EXIT_FAILURE
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_FAILURE)


def usage() -> str:
    """The verbs, one a line."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {verb.help}" for name, verb in VERBS.items())
    return f"usage: quadloop VERB [OPTIONS]\n\n{verbs}\n\nquadloop VERB --help explains a verb; quadloop --version says which code this is."


def version() -> str:
    """Such as "quadloop 0.1.0, revision 0123abc..."."""
    from common.doctor import version_of
    from common.revision import git_revision

    return f"quadloop {version_of('quadloop')}, revision {git_revision()}"


def _run(verb: Verb, arguments: list[str]) -> int:
    from common.result import only_results_on_stdout

    module, function = verb.target.split(":")
    run = getattr(importlib.import_module(module), function)
    with only_results_on_stdout() if "--json" in arguments else contextlib.nullcontext():
        return int(run(arguments))


def _no_memory(why: str) -> int:
    return _fail(f"there is not enough memory for what was asked for ({why or 'it was refused'})", EXIT_FAILURE)


def _nobody_reads() -> bool:
    """Whether standard output has been closed at its other end, which is no failure of ours: `quadloop VERB --help | head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # asked for nothing, it still reports an error
    closed = bool(poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it empties the rest into it
    return closed


def _fail(message: str, status: int) -> int:
    print(f"quadloop: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, VERBS, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


if __name__ == "__main__":
    sys.exit(main())
