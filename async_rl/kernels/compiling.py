"""How the loops are compiled, and what several of them need."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

_FILES = sorted(Path(__file__).parent.glob("*.py"))
_OWN_HASH = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()

_Function = TypeVar("_Function", bound=Callable[..., Any])


def exactly_compiled(function: _Function, **options: Any) -> _Function:
    """Compile a function at its first call, to the letter, and keep the machine code.

    It is made anew where the function's file has changed, or one of those beside this one.
    """
    kernel: Any = numba.njit(error_model="numpy", **options)(function)
    with contextlib.suppress(RuntimeError):  # nowhere to keep it
        kernel.enable_caching()
    with contextlib.suppress(AttributeError):  # by itself numba looks at the function's own file only
        kept = kernel._cache
        kept._cache_file._source_stamp = (kept._cache_file._source_stamp, _OWN_HASH)
        kept.save_overload = _unless_full(kept.save_overload)
    return kernel


def compiled(function: _Function) -> _Function:
    """The same, faster: divisions and roots may be rounded in the last bits, sums may be reordered.

    NaN and infinity stay what they are.
    """
    return exactly_compiled(function, fastmath={"contract", "reassoc", "arcp", "afn", "nsz"})


def _unless_full(save: Callable[..., None]) -> Callable[..., None]:
    """The same, but where the disk is full the code is not kept; there it is compiled all the same."""

    def try_to_save(*arguments: Any) -> None:
        """See `_unless_full`."""
        with contextlib.suppress(OSError):
            save(*arguments)

    return try_to_save


@compiled
def to_bfloat16(bits: np.uint32) -> np.uint16:
    """The nearest bfloat16, even, of the float32 with these ``bits``; of NaN only of those that arithmetic makes."""
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled
def from_bfloat16(bits: np.uint16) -> np.float32:
    """The float32 that is the bfloat16 of these ``bits``."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
