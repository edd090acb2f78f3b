"""Parameters in bfloat16, for layers that compute in it."""

from torch import Tensor


class Rounded:
    """A rounded copy of a vector of parameters, as old as the last update or the last `refresh`.

    Whoever changes the parameters has them at hand, and can write the copy in the same pass over memory: with the
    paper's network a second pass takes 200 to 300 microseconds (Xeon with AMX, in training).

    Attributes:
        vector: [P] bfloat16.
        written: whether `vector` was written since the last `refresh`, which has nothing to do then.
    """

    def __init__(self, parameters: Tensor):
        self._parameters = parameters
        self.vector = parameters.bfloat16()
        self.written = False

    def refresh(self) -> None:
        """Make the copy no older than this moment or the update just made."""
        if not self.written:
            self.vector.copy_(self._parameters)
        self.written = False
