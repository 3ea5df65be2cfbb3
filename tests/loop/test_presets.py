"""Every preset of every long verb is one that its command line takes."""

import pytest

from common.command_line import parse
from loop.command import LoopArguments
from loop.config import PRESETS as LOOP
from loop.finetune_command import FinetuneArguments
from loop.online_command import OnlineArguments
from offline_finetune.config import PRESETS as FINETUNE
from online_finetune.online import PRESETS as ONLINE
from sim_pretrain.command import PretrainArguments
from sim_pretrain.config import MEASURED_PRESETS as PRETRAIN

VERBS = {
    "loop": (LoopArguments, LOOP, []),
    "pretrain": (PretrainArguments, PRETRAIN, []),
    "finetune": (FinetuneArguments, FINETUNE, ["--policy", "p.onnx", "--logs", "logs"]),
    "online": (OnlineArguments, ONLINE, ["--policy", "p.onnx", "--value", "v.pt"]),
}


@pytest.mark.parametrize("preset", ["smoke", "demo", "paper"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_preset_is_taken_as_it_stands(verb, preset):
    kind, presets, more = VERBS[verb]
    assert parse(verb, kind, ["--out", "o", "--preset", preset, *more], presets).config == presets[preset]
