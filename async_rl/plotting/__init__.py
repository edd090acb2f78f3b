"""Learning curves of runs, read from their directories alone: groups of seeds, statistics, points and pictures."""
