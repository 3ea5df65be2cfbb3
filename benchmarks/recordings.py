"""Do the imported policies reproduce what they did on the real robot? Prints JSON: mean squared error of each deterministic recording.

python benchmarks/recordings.py [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from offline_finetune.released.logs import import_logs
from offline_finetune.released.policies import import_policy
from robot.log.episode_log import list_episodes, read_episode

RECORDINGS = {"20230808-205726": "sim_000200", "20230808-211516": "sim_000300"}


def mean_squared_error(data: Path, recording: str, policy: str) -> dict[str, float | int]:
    """Over every row of the recording: what the artifact answers to our observation history, against the logged action."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        shutil.copytree(data / "logs" / recording, out / "released" / recording)
        import_logs(out / "released", out / "logs")
        artifact = import_policy(data / "policies" / f"{policy}.npz", out / "policy.onnx")
        episodes = [read_episode(path) for path in list_episodes(out / "logs")]
    answers = np.concatenate([np.clip(artifact.act(episode.observations)[0], -10, 10) for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    return {"steps": len(actions), "mean_squared_error": float(np.square(answers - actions).mean())}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("QUADLOOP_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder that holds go1_mattress/")
    data = parser.parse_args().data / "go1_mattress"
    print(json.dumps({recording: mean_squared_error(data, recording, policy) for recording, policy in RECORDINGS.items()}))


if __name__ == "__main__":
    main()
