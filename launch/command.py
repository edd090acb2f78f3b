"""What all commands share: the plumbing between a person's shell and a function."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from async_rl.types import UserError


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run ``command`` and end the program: 0 or what it returns, 2 for bad input, 130 for Ctrl-C, 1 for a closed pipe.

    What a person can mend is one sentence on standard error, without a traceback.
    """
    try:
        code = command() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        sys.stderr.close()
        code = 1
    sys.exit(code)
