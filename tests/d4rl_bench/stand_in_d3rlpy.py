"""A stand-in for the interpreter with d3rlpy: it is run with the command line of d4rl_bench/d3rlpy_worker.py, speaks its frames and writes
its files, but learns nothing.

The policy of step N acts tanh(N / 1000) whatever it sees. What came to it, data and answers of the environment, it says as figures. In the
environment it acts 0.25 in every other episode and 0.1 in those between.
"""

import json
import os
import select
import struct
import sys
import threading
from pathlib import Path

import numpy as np

HEADER = struct.Struct("<cI")
PACKAGES = ("python", "d3rlpy", "gymnasium", "numpy", "torch")
BEAT_STEPS = 100


class Worker:
    def __init__(self, settings):
        self.settings = settings
        self.frames = os.fdopen(os.dup(1), "wb")
        with np.load(settings["data"]) as arrays:
            self.data = dict(arrays)
        if not np.isfinite(self.data["actions"]).all():
            raise ValueError("actions are no numbers")

    def send(self, kind, payload=b""):
        self.frames.write(HEADER.pack(kind, len(payload)) + payload)
        self.frames.flush()

    def ask(self, kind, payload=b""):
        self.send(kind, payload)
        answer, length = HEADER.unpack(sys.stdin.buffer.read(HEADER.size))
        assert answer == b"O"
        return np.frombuffer(sys.stdin.buffer.read(length), np.float32)

    def say(self, part, done, total, figures):
        self.send(b"P", json.dumps({"part": part, "done": done, "total": total, "figures": figures}).encode())

    def write_policy(self, path, step):
        size, inputs = self.data["actions"].shape[1], self.data["observations"].shape[1]
        np.savez(path, weight_0=np.zeros((size, inputs), np.float32), bias_0=np.full(size, step / 1000, np.float32))

    def train(self):
        state, method, steps = Path(self.settings["state"]), self.settings["method"], self.settings["steps"]
        begun = int(np.load(state)["step"]) if state.exists() else 0
        figures = {name: int(self.data[name].sum()) for name in ("terminated", "truncated")} | {"rows": len(self.data["rewards"])}
        for step in range(begun + 1, steps + 1):
            if step % self.settings["checkpoint_every"] == 0:
                self.write_policy(state.with_name(f"policy_{step}.npz"), step)
                np.savez(state, step=step)
                self.say(method, step, steps, figures)
            elif step % BEAT_STEPS == 0:
                self.say(method, step, steps, {})

    def finetune(self):
        folder, part, steps = Path(self.settings["folder"]), f"{self.settings['method']} online", self.settings["online_steps"]
        self.write_policy(folder / "online_0.npz", 0)
        seen, episode, figures = self.ask(b"R"), 0, {"rewards": 0.0, "terminated": 0.0, "truncated": 0.0}
        for step in range(1, steps + 1):
            action = np.full(self.data["actions"].shape[1], (0.25, 0.1)[episode % 2], np.float32)
            *seen, reward, terminated, truncated = self.ask(b"S", action.tobytes()).tolist()
            figures["rewards"] += reward
            figures["terminated"] += terminated
            figures["truncated"] += truncated
            if step % self.settings["evaluate_every"] == 0:
                self.write_policy(folder / f"online_{step}.npz", step)
                self.say(part, step, steps, figures | {f"seen_{i}": value for i, value in enumerate(seen)})
            if terminated or truncated:
                seen, episode = self.ask(b"R"), episode + 1
            assert len(seen) == self.data["observations"].shape[1]


def end_with_parent():
    poll = select.poll()
    poll.register(0, 0)  # asked for nothing, it still reports that the other end is closed
    poll.poll()
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[2] == "-c":  # the versions of the packages
        print(json.dumps(dict.fromkeys(PACKAGES, "0")))
        sys.exit()
    threading.Thread(target=end_with_parent, daemon=True).start()
    worker = Worker(json.loads(sys.argv[3]))
    worker.train()
    if worker.settings["online_steps"]:
        worker.finetune()
