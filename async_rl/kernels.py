"""The loops that are worth compiling: one pass over memory instead of the four to seven of array operations.

Plain Python for numba, compiled at the first call; the fork server does that once for all workers. The machine code is
kept beside Python's own, in ``__pycache__`` or the user's cache, so that later runs start a second sooner (all of 16
workers step after 5.0 s instead of 6.1 on 2 cores). Scalars are np.float32, because numba would compute in float64 with
Python's.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _exactly_compiled(function: _Function, **options: Any) -> _Function:
    kernel: Any = numba.njit(error_model="numpy", **options)(function)
    with contextlib.suppress(RuntimeError):  # nowhere to keep it
        kernel.enable_caching()
    return kernel


def _compiled(function: _Function) -> _Function:
    # Divisions and roots may be rounded in the last bits, sums may be reordered; NaN and infinity stay what they are.
    return _exactly_compiled(function, fastmath={"contract", "reassoc", "arcp", "afn", "nsz"})


@_compiled
def _to_bfloat16(bits: np.uint32) -> np.uint16:
    """The nearest bfloat16, even, of the float32 with these ``bits``."""
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@_compiled
def rmsprop(
    parameters: np.ndarray,
    gradient: np.ndarray,
    mean_square: np.ndarray,
    decay: np.float32,
    fresh: np.float32,
    epsilon: np.float32,
    lr: np.float32,
    rounded: np.ndarray | None,
) -> None:
    """One update of `async_rl.optimizers.RMSProp` on vectors [P] float32; ``fresh`` is ``1 - decay``.

    ``rounded`` [P] uint16, if there is one, gets the new parameters in bfloat16.
    """
    for start in range(0, parameters.size, 2048):  # the second loop finds in the nearest cache what the first has left
        piece = slice(start, start + 2048)
        theta, slope, square = parameters[piece], gradient[piece], mean_square[piece]
        for i in range(theta.size):
            square[i] = decay * square[i] + fresh * slope[i] * slope[i]
            theta[i] -= lr * slope[i] / np.sqrt(square[i] + epsilon)
        if rounded is not None:
            bits, out = theta.view(np.uint32), rounded[piece]
            for i in range(bits.size):
                out[i] = _to_bfloat16(bits[i])


@_compiled
def adam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    mean_square: np.ndarray,
    decay: np.float32,
    square_decay: np.float32,
    fresh: np.float32,
    square_fresh: np.float32,
    scale: np.float32,
    epsilon: np.float32,
    most: np.float32,
    lr: np.float32,
) -> None:
    """One update of `async_rl.optimizers.Adam` on vectors [P] float32.

    ``fresh`` and ``square_fresh`` are 1 minus the decays, ``scale`` is the bias correction of ``mean_square`` as a
    factor, that of ``mean`` is in ``lr``; ``most`` limits the quotient of the two.
    """
    for i in range(parameters.size):
        mean_square[i] = square_decay * mean_square[i] + square_fresh * gradient[i] * gradient[i]
        mean[i] = decay * mean[i] + fresh * gradient[i]
        quotient = mean[i] / (np.sqrt(mean_square[i] * scale) + epsilon)
        quotient = quotient if quotient < most else most
        quotient = quotient if quotient > -most else -most
        parameters[i] -= lr * quotient


@_compiled
def _shift_and_scale(pixels: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean, and one over the root of the variance plus 1, of ``pixels`` [height, N] uint8."""
    total = squares = np.int64(0)
    for value in pixels.reshape(-1):
        total += np.int64(value)
        squares += np.int64(value) * np.int64(value)
    mean = np.float64(total) / np.float32(pixels.size)
    variance = np.float64(squares) / np.float32(pixels.size) - mean * mean
    return np.float32(mean), np.float32(1 / np.sqrt(variance + 1))


@_compiled
def standardize(pixels: np.ndarray, out: np.ndarray) -> None:
    """Each of ``pixels`` [B, height, N] uint8 with mean 0 and, but for the added 1, variance 1, cut into blocks.

    ``out`` [B, rows, columns, h, n] float32: row and column of a block, h rows with n numbers each; what does not fill
    a block at the right and at the bottom is left out.
    """
    batch, rows, columns, height, length = out.shape
    for b in range(batch):
        shift, scale = _shift_and_scale(pixels[b])
        for y in range(rows * height):
            for column in range(columns):
                for i in range(length):
                    level = np.float32(pixels[b, y, column * length + i])
                    out[b, y // height, column, y % height, i] = (level - shift) * scale


@_compiled
def standardize_bfloat16(pixels: np.ndarray, out: np.ndarray, row: np.ndarray) -> None:
    """The same, rounded to the nearest bfloat16, even: ``out`` uint16; ``row`` [N] float32 is overwritten."""
    batch, rows, columns, height, length = out.shape
    bits = row.view(np.uint32)
    for b in range(batch):
        shift, scale = _shift_and_scale(pixels[b])
        for y in range(rows * height):
            for i in range(row.size):
                row[i] = (np.float32(pixels[b, y, i]) - shift) * scale
            for column in range(columns):
                for i in range(length):
                    out[b, y // height, column, y % height, i] = _to_bfloat16(bits[column * length + i])


@_compiled
def update_grey(colours: np.ndarray, last: np.ndarray, grey: np.ndarray, palette: np.ndarray) -> tuple[int, int, bool]:
    """Bring ``grey`` and ``last`` [height, width] uint8 up to date with the ``colours`` of a screen.

    ``palette`` [256] int16 has the grey level of each colour, -1 where it is not known.

    Returns:
        The first row that changed, the one after the last that changed (0, 0: none), and whether all colours met in
        the changed pixels are known.
    """
    wide_colours, wide_last = colours.view(np.uint64), last.view(np.uint64)  # eight pixels at a time
    first, end, known = 0, 0, True
    for row in range(colours.shape[0]):
        differs = np.uint64(0)
        for eight in range(wide_colours.shape[1]):
            differs |= wide_colours[row, eight] ^ wide_last[row, eight]
        if differs == 0:
            continue
        first = first if end else row
        end = row + 1
        for eight in range(wide_colours.shape[1]):
            if wide_colours[row, eight] != wide_last[row, eight]:
                for column in range(8 * eight, 8 * eight + 8):
                    level = palette[colours[row, column]]
                    known &= level >= 0
                    grey[row, column] = level
                    last[row, column] = colours[row, column]
    return first, end, known


@_exactly_compiled
def shrink(
    screen: np.ndarray,
    out: np.ndarray,
    first_columns: np.ndarray,
    column_weights: np.ndarray,
    row_weights: np.ndarray,
) -> None:
    """Shrink ``screen`` [5 n, width] uint8 by area into ``out`` [2 n, columns] uint8, as OpenCV does to the last bit.

    So in its order: each row with ``column_weights`` [3, columns] float32 of the pixels from ``first_columns``
    [columns] uint64 on, then three rows with ``row_weights`` [2, 3] for the two that come of five.
    """
    line = np.zeros(screen.shape[1] + 2, np.float32)
    shrunk = np.empty((5, out.shape[1]), np.float32)
    halfway = np.float32(3 << 22)  # has no room for fractions: adding it rounds to the nearest integer, even
    for band in range(out.shape[0] // 2):
        for y in range(5):
            for x in range(screen.shape[1]):
                line[x] = np.float32(screen[5 * band + y, x])
            for x in range(out.shape[1]):
                first = first_columns[x]
                left, middle, right = line[first], line[first + np.uint64(1)], line[first + np.uint64(2)]
                weighted = left * column_weights[0, x] + middle * column_weights[1, x]
                shrunk[y, x] = weighted + right * column_weights[2, x]
        for y in range(2):
            top, middle, bottom = row_weights[y]
            for x in range(out.shape[1]):
                weighted = shrunk[2 * y, x] * top + shrunk[2 * y + 1, x] * middle
                level = (weighted + shrunk[2 * y + 2, x] * bottom + halfway) - halfway
                out[2 * band + y, x] = np.uint8(np.int32(level))


@_compiled
def lambda_returns(
    reward: np.ndarray,
    discount: np.ndarray,
    continues: np.ndarray,
    next_value: np.ndarray,
    decay: np.float32,
    out: np.ndarray,
) -> None:
    """See `async_rl.returns.lambda_returns`; all [T, E] float32."""
    steps, streams = reward.shape
    for e in range(streams):
        following = next_value[steps - 1, e]
        for t in range(steps - 1, -1, -1):
            value = next_value[t, e]
            value += decay * continues[t, e] * (following - value)
            following = reward[t, e] + discount[t, e] * value
            out[t, e] = following


@_compiled
def value_gradient(
    outputs: np.ndarray,
    action: np.ndarray,
    returns: np.ndarray,
    weight: np.ndarray,
    most: np.float32,
    gradient: np.ndarray,
    errors: np.ndarray,
) -> tuple[float, float]:
    """Gradient of the weighted squared errors ``R - Q(s, a)``, each of which counts as at most ``most``.

    ``outputs`` and ``gradient`` are [T, E, A] float32, ``action`` [T, E] int64, all others [T, E] float32; the last two
    are written.

    Returns:
        Sums of Q(s, a) and of the squared errors.
    """
    values = squares = 0.0
    gradient[:] = 0
    for t in range(action.shape[0]):
        for e in range(action.shape[1]):
            value = outputs[t, e, action[t, e]]
            error = returns[t, e] - value
            errors[t, e] = error
            values += value
            squares += np.float64(error) * error
            error = most if error > most else error  # what is not a number stays so
            error = -most if error < -most else error
            gradient[t, e, action[t, e]] = np.float32(-2) * weight[t, e] * error
    return values, squares


@_compiled
def actor_critic_gradient(
    outputs: np.ndarray,
    action: np.ndarray,
    returns: np.ndarray,
    entropy_weight: np.float32,
    gradient: np.ndarray,
    errors: np.ndarray,
) -> tuple[float, float]:
    """Gradient of ``(R - V)^2 - (R - V) log pi(a) - entropy_weight H(pi)``; in the second term R - V is a constant.

    ``outputs`` and ``gradient`` are [T, E, A + 1] float32, the logits of pi and V; all others as in `value_gradient`.

    Returns:
        Sums of V and of the squares of R - V.
    """
    values = squares = 0.0
    actions = outputs.shape[2] - 1
    for t in range(action.shape[0]):
        for e in range(action.shape[1]):
            logits, slope = outputs[t, e, :actions], gradient[t, e]
            log_total = logits.max() + np.log(np.exp(logits - logits.max()).sum())
            log_policy = logits - log_total
            policy = np.exp(log_policy)
            negative_entropy = (policy * log_policy).sum()
            advantage = returns[t, e] - outputs[t, e, actions]
            errors[t, e] = advantage
            values += outputs[t, e, actions]
            squares += np.float64(advantage) * advantage
            slope[:actions] = policy * (advantage + entropy_weight * (log_policy - negative_entropy))
            slope[action[t, e]] -= advantage
            slope[actions] = np.float32(-2) * advantage
    return values, squares


def compile_all() -> None:
    """Compile now what would be compiled at the first call; a second that forks of this process do not need."""
    vector, number = np.ones(8, np.float32), np.float32(1)
    screen, screens = np.zeros((1, 8), np.uint8), np.zeros((1, 1, 8), np.uint8)
    blocks, weights = np.zeros((1, 1, 1, 1, 8), np.float32), np.zeros((3, 8), np.float32)
    outputs, action, each = np.zeros((1, 1, 2), np.float32), np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32)
    for kernel, arguments in (
        (rmsprop, (vector, vector.copy(), vector.copy(), *(number,) * 4, None)),
        (rmsprop, (vector, vector.copy(), vector.copy(), *(number,) * 4, vector.astype(np.uint16))),
        (adam, (vector, vector.copy(), vector.copy(), vector.copy(), *(number,) * 8)),
        (standardize, (screens, blocks)),
        (standardize_bfloat16, (screens, blocks.astype(np.uint16), vector.copy())),
        (update_grey, (screen, screen.copy(), screen.copy(), np.zeros(256, np.int16))),
        (shrink, (screen, screen, np.zeros(8, np.uint64), weights, weights)),
        (lambda_returns, (each, each, each, each, number, each.copy())),
        (value_gradient, (outputs, action, each, each, number, outputs.copy(), each.copy())),
        (actor_critic_gradient, (outputs, action, each, number, outputs.copy(), each.copy())),
    ):
        with contextlib.suppress(OSError):  # compiled, but the disk is full
            kernel(*arguments)
