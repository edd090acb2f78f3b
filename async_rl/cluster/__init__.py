"""The same training on many machines, with Ray; nothing below this package and its command knows of Ray.

Hogwild needs shared memory, so each machine is an *island*: its workers share one theta as on a single machine. Islands
exchange parameters through a *holder* of the common ones, asynchronously, as DistBelief (Dean et al. 2012) and Gorila
(Nair et al. 2015, arXiv 1507.04296) did with gradients.

    driver: the ordinary supervisor, with islands in the place of worker processes
       | collects games and counts, copies theta                      T = sum of all workers' counts
    holder (one or several shards) <-- a change; the common parameters --> island 0: theta, workers 0 to 15
                                                                       --> island 1: theta, workers 16 to 31 ...

The workers of all islands are numbered through, and each table, the driver's and every island's, has a slot for each of
them. So seeds, final epsilons, T, schedules and checkpoints are those of one machine with as many workers.

Not exchanged: the statistics of the optimiser. They are moments of the gradients that a machine's own workers see;
those of other islands have the same expectation, and mixing them would double the traffic. A checkpoint holds those of
one island.
The target is refreshed by each island from its own theta, whenever the T of all passes a multiple of the interval: a
copy over the network would be no newer.
"""
