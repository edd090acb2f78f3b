"""Experience replay inside each worker, as Gorila had it (Nair et al. 2015, arXiv 1507.04296), also prioritised."""

from async_rl.replay.experience import Experience, FromReplay, Online
from async_rl.replay.memory import Replay
from async_rl.replay.rings import Rings
from async_rl.replay.samplers import Proportional, Sampler, Uniform
from async_rl.replay.sum_tree import SumTree

__all__ = [
    "Experience",
    "FromReplay",
    "Online",
    "Proportional",
    "Replay",
    "Rings",
    "Sampler",
    "SumTree",
    "Uniform",
]
