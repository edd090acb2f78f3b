"""The loops that are worth compiling: one pass over memory instead of the four to seven of array operations.

Convolutions are in `async_rl.kernels.convolving`. Plain Python for numba, compiled at the first call; the fork server
does that once for all workers. The machine code is kept beside Python's own, in ``__pycache__`` or the user's cache, so
that later runs start a second sooner (all of 16 workers step after 5.0 s instead of 6.1 on 2 cores). Scalars are
np.float32, because numba would compute in float64 with Python's.
"""

import numpy as np

from async_rl.kernels.learning import (
    actor_critic_gradient,
    adam,
    fully_connected,
    lambda_returns,
    rmsprop,
    value_gradient,
)
from async_rl.kernels.screens import shrink, standardize, standardize_bfloat16, update_grey

__all__ = [
    "actor_critic_gradient",
    "adam",
    "compile_all",
    "fully_connected",
    "lambda_returns",
    "rmsprop",
    "shrink",
    "standardize",
    "standardize_bfloat16",
    "update_grey",
    "value_gradient",
]


def compile_all() -> None:
    """Compile now what would be compiled at the first call; a second that forks of this process do not need."""
    vector, number = np.ones(8, np.float32), np.float32(1)
    bits = vector.astype(np.uint16)
    screen, screens = np.zeros((1, 8), np.uint8), np.zeros((1, 1, 8), np.uint8)
    blocks, weights = np.zeros((1, 1, 1, 1, 8), np.float32), np.zeros((3, 8), np.float32)
    outputs, action, each = np.zeros((1, 1, 2), np.float32), np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32)
    for kernel, arguments in (
        (fully_connected, (bits, bits[None], bits[:1], bits[:1].copy())),
        (rmsprop, (vector, vector.copy(), vector.copy(), *(number,) * 4, None)),
        (rmsprop, (vector, vector.copy(), vector.copy(), *(number,) * 4, bits)),
        (adam, (vector, vector.copy(), vector.copy(), vector.copy(), *(number,) * 8)),
        (standardize, (screens, blocks)),
        (standardize_bfloat16, (screens, blocks.astype(np.uint16), vector.copy())),
        (update_grey, (screen, screen.copy(), screen.copy(), np.zeros(256, np.int16), np.zeros(1, np.bool_))),
        (shrink, (screen, screen, np.zeros(1, np.bool_), screen, np.zeros(8, np.uint64), weights, weights)),
        (lambda_returns, (each, each, each, each, number, each.copy())),
        (value_gradient, (outputs, action, each, each, number, number, outputs.copy(), each.copy())),
        (actor_critic_gradient, (outputs, action, each, number, outputs.copy(), each.copy())),
    ):
        kernel(*arguments)
