"""The worker: makes a legged_gym environment and steps it for quadloop. Runs alone: python serve.py SOCKET_FD MEMORY_FD OPTIONS.

OPTIONS is a JSON object; its "make" names a function "module:function", found beside this file or on PYTHONPATH, that gets the whole object
and returns an environment with legged_gym's names: num_envs, num_obs, num_privileged_obs, num_actions, reset(), get_observations(),
get_privileged_observations(), step(actions) -> obs, privileged_obs, rew, dones, extras.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

import protocol  # type: ignore[import-not-found]  # beside this file, which is run as a script

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the other side closes the socket."""
    options = json.loads(sys.argv[3])
    _die_with_parent(options["parent"])
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        _serve(link, int(sys.argv[2]), options)
    except Exception as error:  # whatever a simulator raises is told to the other side
        traceback.print_exc()
        protocol.send(link, {"error": type(error).__name__ + ": " + (str(error).splitlines() or [""])[0]})
        sys.exit(1)


def _serve(link: socket.socket, memory: int, options: dict[str, Any]) -> None:
    module, function = options["make"].split(":")
    env = getattr(importlib.import_module(module), function)(options)
    env.reset()
    critic_size = env.num_privileged_obs or env.num_obs
    sizes = {"num_envs": env.num_envs, "num_obs": env.num_obs, "num_actions": env.num_actions, "critic_size": critic_size}
    protocol.send(link, dict(sizes, version=protocol.VERSION))
    requests = link.makefile("r")
    if not requests.readline():  # the other side does not want an environment of these sizes
        return
    arrays = protocol.map_arrays(memory, sizes)
    _observe(arrays, env.get_observations(), env.get_privileged_observations())
    protocol.send(link, {})
    for _request in requests:  # there is only one kind
        protocol.send(link, {"terms": _step(env, arrays)})


def _step(env: Any, arrays: Arrays) -> dict[str, float]:
    import torch

    # legged_gym resets a robot before it answers, so what its last step led to is lost; what it saw before that step stands in.
    arrays["final_critic_observations"][:] = arrays["critic_observations"]
    actions = torch.from_numpy(arrays["actions"].copy()).to(getattr(env, "device", "cpu"))
    obs, privileged_obs, rewards, dones, extras = env.step(actions)
    _observe(arrays, obs, privileged_obs)
    done = dones.bool().cpu().numpy()
    time_outs = extras["time_outs"].bool().cpu().numpy() if "time_outs" in extras else done & False
    arrays["rewards"][:] = rewards.float().cpu().numpy()
    arrays["truncated"][:] = done & time_outs
    arrays["terminated"][:] = done & ~time_outs
    return {name: float(value) for name, value in extras.get("episode", {}).items()}


def _observe(arrays: Arrays, obs: Any, privileged_obs: Any) -> None:
    arrays["observations"][:] = obs.float().cpu().numpy()
    arrays["critic_observations"][:] = (obs if privileged_obs is None else privileged_obs).float().cpu().numpy()


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent dies, even while the simulator hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        sys.exit(1)


if __name__ == "__main__":
    main()
