"""Your own network: a function of the observation's shape and the number of outputs that returns a torch module.

From this folder: ``python -m launch.async --env my_environment:make --network my_network:make``
"""

from torch import nn


def make(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One hidden layer of 32 units.

    Args:
        observation_shape: of one observation, here (10,); (84, 84, 4) for Atari.
        outputs: actions; one more, the value, for a3c.
    """
    return nn.Sequential(nn.Linear(observation_shape[0], 32), nn.ReLU(), nn.Linear(32, outputs))
