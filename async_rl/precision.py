"""In which numbers layers compute: float32, or bfloat16 where that is faster."""

import platform

import torch
from torch import nn

from async_rl.chain import is_chain
from async_rl.config import Config
from async_rl.cores import processor_name
from async_rl.shared import parameter_count

FEWEST_PARAMETERS = 100_000
"""Of a network that is computed in bfloat16 by itself.

Both passes of the paper's network, 680,000, took 0.81 of the time of float32 with 16 emulators, 0.88 with 8 and 0.9
with 4 (medians on one core of a Zen 4 EPYC). An update takes 0.98 of the time of float32 with one emulator and one
step, 0.96 with two steps, 0.92 with five; the toy's, 7,600 parameters, 1.74 with 16 streams (Xeon with AMX).
"""


def compute_dtype(config: Config, network: nn.Module) -> torch.dtype:
    """In which the layers of ``network`` compute: as ``config.precision`` says, here.

    By itself only what is computed by hand does it in bfloat16: autograd would round the last layer, too.
    """
    if config.precision == "auto":
        worth_it = parameter_count(network) >= FEWEST_PARAMETERS and is_chain(network) and fast_in_bfloat16()
        return torch.bfloat16 if worth_it else torch.float32
    return getattr(torch, config.precision)


def has_bfloat16() -> bool | None:
    """Whether this processor computes in bfloat16 by instructions of its own; None: not known.

    torch would compute without them, too, but slower than in float32.
    """
    known = _instructions()
    return None if known is None else any(known)


def fast_in_bfloat16() -> bool:
    """Whether training is faster in bfloat16 than in float32 here.

    It is with AMX, and with AVX512-BF16 on AMD's processors (see `FEWEST_PARAMETERS`). On a Xeon that has AVX512-BF16,
    but whose hypervisor hides AMX, a step by default took 1.18 times the time of float32, one with 40 emulators 1.18,
    with one and updates every five steps 1.05, with 16 and segments of 32 steps 1.0 times. All of these were measured
    before convolutions in float32 had loops of their own, with which they take 0.81 (one emulator) to 0.98 (40) of the
    time: on processors that are not much faster in bfloat16 it may be the other way round by now.
    """
    avx512, amx = _instructions() or (False, False)
    return amx or (avx512 and "Intel" not in processor_name())


def _instructions() -> tuple[bool, bool] | None:
    """Whether this processor has AVX512-BF16, and AMX; None: not known."""
    avx512, amx = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    if platform.machine() != "x86_64" or avx512 is None or amx is None:
        return None
    return avx512(), amx()
