"""Which number format matrix products are worth computing in on this processor."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "auto"]


def autocast(precision: Precision) -> torch.autocast:
    """Context in which matrix products have the wanted precision; everything else stays float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=product_format(precision) is torch.bfloat16)


def product_format(precision: Precision) -> torch.dtype:
    """What matrix products are computed in."""
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and multiplies_bf16()) else torch.float32


@cache
def multiplies_bf16() -> bool:
    """Whether this processor has bfloat16 products in hardware (AMX, AVX512-BF16); emulated, they are far slower than float32."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
