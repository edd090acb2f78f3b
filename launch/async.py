"""``python -m launch.async``: train with asynchronous actor-learners; ``--help`` lists all settings.

``async`` is a keyword, so nothing can import this module by statement; what it does is in `launch.train`. Worker
processes run it once more under another name, hence the guard, and hence nothing heavy up here.
"""

import os
import signal


def _end(number: int, frame: object) -> None:
    """As long as there is nothing to save, Ctrl-C and SIGTERM just end it; the fork server ends with it."""
    os._exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)

    from launch.train import main

    main()
