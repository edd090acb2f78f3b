"""What the commands have in common: how they end, and how bad input is told."""

import sys
from collections.abc import Callable

from async_rl.types import UserError


def run(command: Callable[[], int | None]) -> None:
    """Run a command and end the process with the exit code that it returns; None counts as 0.

    A `UserError` becomes one line on standard error and exit code 2.
    """
    try:
        sys.exit(command())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
