"""``python -m launch.async``: train with asynchronous actor-learners; ``--help`` lists all settings.

``async`` is a keyword, so nothing can import this module by statement; what it does is in `launch.train`. Worker
processes run it once more under another name, hence the guard, and hence nothing heavy up here.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as long as there is nothing to save, Ctrl-C just ends it

    from launch.train import main

    main()
