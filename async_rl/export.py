"""A trained network alone: read out of a checkpoint or an exported file, and written as one.

An exported file is sealed as a checkpoint is (`async_rl.storage`), with the same description, but holds only one
tensor, ``parameters`` (theta as one vector); its metadata say what it is for people, too. Reading one executes no code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from async_rl import checkpoint, storage
from async_rl.checking import shown
from async_rl.checkpoint_content import Progress, encode_network
from async_rl.config import Config
from async_rl.envs import atari_game
from async_rl.networks import make_network
from async_rl.shared import bind
from async_rl.shared.bind import Layout, layout, same_layout
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import code_named

Which = Literal["latest", "best"]


@dataclass(frozen=True)
class SavedNetwork:
    """What a file says of a trained network.

    Attributes:
        path: the file.
        config: of the run.
        spec: of the environment.
        layout: name -> shape of each parameter, in their order in ``parameters``.
        total_steps: T at which it was saved.
        seconds: wall-clock seconds of training until then.
        vector: theta [P] float32.
        passed_over: a sentence about each checkpoint that should have been read, but was damaged.
    """

    path: Path
    config: Config
    spec: EnvSpec
    layout: Layout
    total_steps: int
    seconds: float
    vector: np.ndarray
    passed_over: tuple[str, ...] = ()

    @property
    def parameters(self) -> torch.Tensor:
        """theta as one vector ``[P]``, in the order of ``layout``."""
        return torch.from_numpy(self.vector)

    def make(self) -> nn.Module:
        """The network, with a copy of the parameters that nothing learns; see `make_network` for its outputs.

        Raises:
            UserError: the settings in the file make another network, as where a function of the user's has changed.
        """
        network = make_network(self.config, self.spec)
        if not same_layout(layout(network), self.layout):
            raise UserError(
                f"{self.path} holds another network than --network {self.config.network} makes now; "
                "put the code back as it was when the network was trained."
            )
        bind(network, self.parameters.clone())
        return network.requires_grad_(False).eval()


def read_network(run_or_file: Path, which: Which = "latest", trust_code: bool = False) -> SavedNetwork:
    """Read the network of a run directory (of its first whole checkpoint), of a checkpoint or of an exported file.

    Args:
        run_or_file: where it is.
        which: checkpoint of a run directory.
        trust_code: whether the file may name functions of the user's own, ``package.module:function``, as its
            environment or network; they are imported when these are made, never here.

    Raises:
        UserError: there is none, it is damaged, was written by another version, or names code without being trusted.
    """
    if which not in get_args(Which):
        raise UserError(f"a run directory's checkpoint is {' or '.join(get_args(Which))}, got {shown(which)}.")
    saved = checkpoint.read_network(run_or_file, best=which == "best")
    code = code_named(saved.config.env, saved.config.network)
    if code and not trust_code:
        raise UserError(
            f"{saved.path} names code to import, {' and '.join(code)}; if you know where it comes from, "
            "add --trust-code (in Python: trust_code=True)."
        )
    return SavedNetwork(
        path=saved.path,
        config=saved.config,
        spec=saved.spec,
        layout=saved.layout,
        total_steps=saved.progress.total_steps,
        seconds=saved.progress.seconds,
        vector=saved.arrays["parameters"],
        passed_over=saved.passed_over,
    )


def write_network(saved: SavedNetwork, path: Path) -> None:
    """Write the network alone; `read_network` reads it. Until it is whole, nothing is at ``path``.

    Raises:
        UserError: it cannot be written.
    """
    progress = Progress(saved.total_steps, saved.seconds)
    content = encode_network(saved.config, saved.spec, saved.layout, progress, saved.vector, metadata(saved))
    storage.write_result(path, content)


def metadata(saved: SavedNetwork) -> dict[str, str]:
    """What goes with an exported network, for people, as text by name."""
    spec, config = saved.spec, saved.config
    return {
        "game": spec.name,
        "action_names": " ".join(spec.action_names),
        "observation": f"{spec.observation_dtype} {' x '.join(map(str, spec.observation_shape))}",
        "preprocessing": _preprocessing(saved),
        "outputs": "logits of the policy, then V" if config.has_policy else "Q-values",
        "algorithm": config.algorithm,
        "total_steps": str(saved.total_steps),
    }


def _preprocessing(saved: SavedNetwork) -> str:
    if atari_game(saved.config) is None:
        return "none"
    return (
        f"{saved.spec.stack} grey screens of {saved.spec.frames_per_step} frames each, the maximum of the last two, "
        "84x84 by area, oldest first (Mnih et al. 2015); the network itself scales the pixels"
    )
