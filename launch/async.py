"""``python -m launch.async``: train with asynchronous actor-learners; ``--help`` lists all settings.

``async`` is a keyword, so nothing can import this module by statement; what it does is in `launch.train`. Worker
processes run it once more under another name, hence the guard, and hence nothing heavy up here.
"""

if __name__ == "__main__":
    from launch.train import main

    main()
