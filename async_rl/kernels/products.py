"""Products of matrices that lie in other arrays as they are, on x86 processors of the last ten years.

What numba compiles of plain loops keeps no sums in registers, so here the code is generated, as LLVM wants it. A tile
of rows and columns has its sums in as many registers as there are; each pass of the innermost loop brings one row of
``b``, and one element of each row of ``a``, which the processor itself spreads over a register::

    out, a tile of 3 x 32          a            b
    [sums   ][sums   ]             [a0]         [one row: 16][16]
    [sums   ][sums   ]      +=     [a1]    x
    [sums   ][sums   ]             [a2]

With 20 sums that is 21 reads of memory for 20 multiplications of 16 numbers, of which the processor does two each in
the same time: nearly the most that it can.
"""

import functools
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Numbers that are multiplied at once: a register of AVX-512, two of AVX2."""


@functools.cache
def most_sums() -> int:
    """Of `LANES` numbers each, as the registers of this processor hold beside what is multiplied; 0: it is too old."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return 0
    try:
        has = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know
        return 0
    return 24 if has.get("avx512f") else 5 if has.get("avx2") and has.get("fma") else 0


_Lanes, _Index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)


class _Products:
    """Writes the machine code of `add_products`, for arguments that are values of the code, and sizes that are known.

    Args:
        builder: where the code goes.
        row_step: numbers from one row of ``a`` to the next.
        width: of ``b`` and ``out``.
        counts: of elements of a row of ``a``: so many runs of so many.
        steps: numbers from one run of them to the next, and from one element to the next.
        out_step: numbers from one row of ``out`` to the next.
    """

    def __init__(
        self, builder: Any, row_step: int, width: int, counts: ir.Value, steps: ir.Value, out_step: ir.Value
    ) -> None:
        self._builder, self._row_step, self._width, self._out_step = builder, row_step, width, out_step
        self._runs, self._length = (builder.extract_value(counts, axis) for axis in (0, 1))
        self._run_step, self._element_step = (builder.extract_value(steps, axis) for axis in (0, 1))
        self._vectors = 2 if width % (2 * LANES) == 0 else 1  # of a tile, beside each other

    def write(self, rows: int, a: ir.Value, b: ir.Value, out: ir.Value) -> None:
        """All of it, in tiles of about the same height that fill the registers; pointers to where each begins."""
        builder, most = self._builder, max(most_sums(), 2) // self._vectors  # right on any processor, if not fast
        tiles = -(-rows // most)
        height = -(-rows // tiles)
        whole, rest = divmod(rows, height)
        with cgutils.for_range(builder, _Index(self._width // (self._vectors * LANES))) as columns:
            column = builder.mul(columns.index, _Index(self._vectors * LANES))
            b, out = builder.gep(b, [column]), builder.gep(out, [column])
            with cgutils.for_range(builder, _Index(whole)) as tile:
                self._tile(height, *self._lower(builder.mul(tile.index, _Index(height)), a, out), b)
            if rest:
                self._tile(rest, *self._lower(_Index(whole * height), a, out), b)

    def _lower(self, row: ir.Value, a: ir.Value, out: ir.Value) -> tuple[ir.Value, ir.Value]:
        builder = self._builder
        a = builder.gep(a, [builder.mul(row, _Index(self._row_step))])
        return a, builder.gep(out, [builder.mul(row, self._out_step)])

    def _tile(self, rows: int, a: ir.Value, out: ir.Value, b: ir.Value) -> None:
        """Add to ``rows`` rows and to as many columns as there are in the vectors of a tile."""
        builder, vectors = self._builder, range(self._vectors)
        places = [
            self._lanes(out, builder.add(builder.mul(_Index(row), self._out_step), _Index(vector * LANES)))
            for row in range(rows)
            for vector in vectors
        ]
        sums = [cgutils.alloca_once_value(builder, builder.load(place, align=4)) for place in places]
        with cgutils.for_range(builder, self._runs) as run, cgutils.for_range(builder, self._length) as element:
            number = builder.add(builder.mul(run.index, self._length), element.index)
            b_row = builder.mul(number, _Index(self._width))
            factors = [
                builder.load(self._lanes(b, builder.add(b_row, _Index(vector * LANES))), align=4) for vector in vectors
            ]
            place = builder.add(builder.mul(run.index, self._run_step), builder.mul(element.index, self._element_step))
            column = builder.gep(a, [place])
            for row in range(rows):
                one = builder.load(builder.gep(column, [_Index(row * self._row_step)]))
                for vector in vectors:
                    product = builder.fmul(self._everywhere(one), factors[vector], flags=("contract",))
                    each = sums[row * self._vectors + vector]
                    builder.store(builder.fadd(product, builder.load(each), flags=("contract",)), each)
        for place, each in zip(places, sums, strict=True):
            builder.store(builder.load(each), place, align=4)

    def _lanes(self, start: ir.Value, place: ir.Value) -> ir.Value:
        """Pointer to sixteen numbers."""
        return self._builder.bitcast(self._builder.gep(start, [place]), _Lanes.as_pointer())

    def _everywhere(self, number: ir.Value) -> ir.Value:
        """Sixteen times the same number."""
        nothing = ir.Constant(_Lanes, ir.Undefined)
        first = self._builder.insert_element(nothing, number, ir.IntType(32)(0))
        return self._builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))


def _add_products(
    _: Any,
    rows: Any,
    row_step: Any,
    width: Any,
    a: Any,
    a_start: Any,
    counts: Any,
    steps: Any,
    b: Any,
    b_start: Any,
    out: Any,
    out_start: Any,
    out_step: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Add the product of two matrices to a third, ``out += a b``, all within flat arrays of float32.

    Each of the ``rows`` rows of ``a`` begins ``row_step`` numbers after the one before, and has ``counts[0]`` runs of
    ``counts[1]`` elements; numbers from one run to the next, and from one element to the next, are in ``steps``. ``b``
    is contiguous, with a row of ``width`` for each element. The rows of ``out`` are ``out_step`` apart.

    The first three are constants, and ``width`` is a multiple of sixteen.
    """
    number, pair = types.intp, types.UniTuple(types.intp, 2)
    signature = types.void(rows, row_step, width, a, number, pair, pair, b, number, out, number, number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """The code of a call."""
        _, _, _, a, a_start, counts, steps, b, b_start, out, out_start, out_step = arguments
        starts = [
            builder.gep(context.make_array(signature.args[n])(context, builder, array).data, [start])
            for n, array, start in ((3, a, a_start), (7, b, b_start), (9, out, out_start))
        ]
        products = _Products(builder, row_step.literal_value, width.literal_value, counts, steps, out_step)
        products.write(rows.literal_value, *starts)
        return context.get_dummy_value()

    return signature, generate


add_products: Any = intrinsic(prefer_literal=True)(_add_products)
