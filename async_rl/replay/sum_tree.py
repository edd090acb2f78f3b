"""Drawing in proportion to weights that change (Schaul et al. 2016, arXiv 1511.05952, Appendix B.2.1)."""

import numpy as np


class SumTree:
    """A binary tree in one float64 array: leaves are weights, every other node is the sum of its two children.

        node 1                total
        nodes 2, 3         left    right
        nodes 4 .. 7      w0  w1   w2  w3

    Sums are made from children, never by adding differences, so rounding does not pile up.

    Args:
        capacity: number of leaves, at least 1; all are 0 at first.
    """

    def __init__(self, capacity: int) -> None:
        self._levels = (capacity - 1).bit_length()
        self._first_leaf = 1 << self._levels
        self._nodes = np.zeros(2 * self._first_leaf)

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._nodes[1])

    def values(self, indices: np.ndarray) -> np.ndarray:
        """Leaves [n] float64 at ``indices`` [n]."""
        return self._nodes[self._first_leaf + indices]

    def set(self, indices: np.ndarray, values: np.ndarray) -> None:
        """Set the leaves at ``indices`` [n] to ``values`` [n]; of an index given twice, the last value stays.

        Raises:
            ValueError: a value is negative or not finite, which would spoil every sum above it.
        """
        if not np.all((values >= 0) & (values < np.inf)):
            raise ValueError("the leaves of a sum tree must be finite and at least 0.")
        nodes = self._first_leaf + indices
        self._nodes[nodes] = values
        for _ in range(self._levels):
            nodes = nodes >> 1
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def find(self, prefix_sums: np.ndarray) -> np.ndarray:
        """Indices [n] int64 of the leaves i with ``sum(w[:i]) <= prefix_sum < sum(w[:i + 1])``; never a leaf of 0.

        Args:
            prefix_sums: [n], each at least 0; `total` or more finds the last leaf above 0.

        Raises:
            ValueError: all leaves are 0.
        """
        if self.total == 0:
            raise ValueError("nothing can be found in a sum tree whose leaves are all 0.")
        rest = np.array(prefix_sums, np.float64)
        nodes = np.ones(rest.shape, np.int64)
        for _ in range(self._levels):
            nodes *= 2
            left = self._nodes[nodes]
            # An empty right half is not entered even where rounding left too large a rest.
            right = (rest >= left) & (self._nodes[nodes + 1] > 0)
            rest -= left * right
            nodes += right
        return nodes - self._first_leaf
