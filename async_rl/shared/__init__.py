"""What processes share: one table of numbers, and modules bound to flat vectors in it."""

from async_rl.shared.bind import bind, bind_gradients, flatten, layout, parameter_count, views
from async_rl.shared.table import Row, SharedTable

__all__ = ["Row", "SharedTable", "bind", "bind_gradients", "flatten", "layout", "parameter_count", "views"]
