"""Screens on their way from the emulator into the network."""

import numpy as np

from async_rl.kernels.compiling import compiled, exactly_compiled, to_bfloat16


@compiled
def update_grey(
    colours: np.ndarray, last: np.ndarray, grey: np.ndarray, palette: np.ndarray, changed: np.ndarray
) -> bool:
    """Bring ``grey`` and ``last`` [height, width] uint8 up to date with the ``colours`` of a screen.

    ``palette`` [256] int16 has the grey level of each colour, -1 where it is not known. Rows with another colour than
    before are marked in ``changed`` [height] bool.

    Returns:
        Whether all colours met in the changed pixels are known.
    """
    wide_colours, wide_last = colours.view(np.uint64), last.view(np.uint64)  # eight pixels at a time
    known = True
    for row in range(colours.shape[0]):
        differs = np.uint64(0)
        for eight in range(wide_colours.shape[1]):
            differs |= wide_colours[row, eight] ^ wide_last[row, eight]
        if differs == 0:
            continue
        changed[row] = True
        for eight in range(wide_colours.shape[1]):
            if wide_colours[row, eight] != wide_last[row, eight]:
                for column in range(8 * eight, 8 * eight + 8):
                    level = palette[colours[row, column]]
                    known &= level >= 0
                    grey[row, column] = level
                    last[row, column] = colours[row, column]
    return known


@exactly_compiled
def shrink(
    screen: np.ndarray,
    other: np.ndarray,
    changed: np.ndarray,
    out: np.ndarray,
    first_columns: np.ndarray,
    column_weights: np.ndarray,
    row_weights: np.ndarray,
) -> None:
    """Shrink the maximum of two screens [5 n, width] uint8 by area into ``out`` [2 n, columns] uint8.

    As OpenCV does to the last bit, so in its order: each row with ``column_weights`` [3, columns] float32 of the pixels
    from ``first_columns`` [columns] uint64 on, then three rows with ``row_weights`` [2, 3] for the two that come of
    five. Bands of five rows of which none is marked in ``changed`` [5 n] bool are left as they are in ``out``.
    """
    line = np.zeros(screen.shape[1] + 2, np.float32)
    shrunk = np.empty((5, out.shape[1]), np.float32)
    halfway = np.float32(3 << 22)  # has no room for fractions: adding it rounds to the nearest integer, even
    for band in range(out.shape[0] // 2):
        if not changed[5 * band : 5 * band + 5].any():
            continue
        for y in range(5):
            row, other_row = screen[5 * band + y], other[5 * band + y]
            for x in range(screen.shape[1]):
                line[x] = np.float32(max(row[x], other_row[x]))
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


@compiled
def _shift_and_scale(pixels: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean, and one over the root of the variance plus 1, of ``pixels`` [height, N] uint8."""
    flat, total, squares = pixels.reshape(-1), np.int64(0), np.int64(0)
    for start in range(0, flat.size, 4096):  # twice as many are added in the time where their sums fit 32 bits
        piece, of_piece, squares_of_piece = flat[start : start + 4096], np.int32(0), np.int32(0)
        for i in range(piece.size):
            value = np.int32(piece[i])
            of_piece = np.int32(of_piece + value)
            squares_of_piece = np.int32(squares_of_piece + np.int32(value * value))
        total += of_piece
        squares += squares_of_piece
    mean = np.float64(total) / np.float32(pixels.size)
    variance = np.float64(squares) / np.float32(pixels.size) - mean * mean
    return np.float32(mean), np.float32(1 / np.sqrt(variance + 1))


@compiled
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


@compiled
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
                    out[b, y // height, column, y % height, i] = to_bfloat16(bits[column * length + i])
