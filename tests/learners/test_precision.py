"""Which number format matrix products get, whatever processor the test runs on."""

import pytest
import torch

from learners import precision


@pytest.mark.parametrize(
    ("wanted", "in_hardware", "dtype"),
    [
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_auto_takes_bfloat16_only_where_the_processor_has_it(monkeypatch, wanted, in_hardware, dtype):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: in_hardware)
    with precision.autocast(wanted):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
