"""A trained network alone: read out of a checkpoint or an exported file, and written as one.

An exported file is a safetensors file with one tensor, ``parameters`` (theta as one vector), and what is needed to
make the network and its game again: as JSON under ``async_rl``, where a checkpoint has it, and, for people, under
names of their own. Reading one executes no code.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import nn

from async_rl import checkpoint, files
from async_rl.config import Config
from async_rl.config_file import from_values
from async_rl.envs import atari_game
from async_rl.networks import make_network
from async_rl.shared import bind
from async_rl.shared.bind import Layout, layout
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import one_line

Which = Literal["latest", "best"]

_FORMATS = (1, 2)
"""Of checkpoints; what is read here is the same in both."""

_FILES = {"latest": checkpoint.LATEST, "best": checkpoint.BEST}


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
    """

    path: Path
    config: Config
    spec: EnvSpec
    layout: Layout
    total_steps: int
    seconds: float
    vector: np.ndarray

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
        if layout(network) != self.layout:
            raise UserError(
                f"{self.path} holds another network than --network {self.config.network} makes now; "
                "put the code back as it was when the network was trained."
            )
        bind(network, self.parameters.clone())
        return network.requires_grad_(False).eval()


def find_network(run_or_file: Path, which: Which = "latest") -> Path:
    """The file that is meant: ``run_or_file`` itself, or a checkpoint of that run directory.

    Raises:
        UserError: there is none.
    """
    if run_or_file.is_file():
        return run_or_file
    if not run_or_file.exists():
        raise UserError(f"there is no run or checkpoint at {run_or_file}.")
    path = run_or_file / _FILES[which]
    if not path.is_file():
        raise UserError(f"{run_or_file} has no {_FILES[which]}; name a directory in which a run has saved one.")
    return path


def read_network(run_or_file: Path, which: Which = "latest") -> SavedNetwork:
    """Read the network of a run directory, a checkpoint or an exported file.

    Raises:
        UserError: there is none, it is damaged, or it was written by another version.
    """
    path = find_network(Path(run_or_file), which)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            description = json.loads((file.metadata() or {})["async_rl"])
            if description["format"] not in _FORMATS:
                raise UserError(f"its format is {description['format']!r}, this version knows 1 and 2.")
            vector = file.get_tensor("parameters")
        return _network(path, description, vector)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from None
    except UserError as error:
        raise UserError(f"{path} was written by another version of async_rl: {error}") from None
    except Exception as error:  # the file may be anybody's, and hold anything
        raise UserError(f"{path} is not a whole checkpoint or network of async_rl ({one_line(error)[:200]}).") from None


def _network(path: Path, description: dict[str, Any], vector: np.ndarray) -> SavedNetwork:
    names = {name: tuple(shape) for name, shape in description["layout"].items()}
    size = sum(math.prod(shape) for shape in names.values())
    if vector.dtype != np.float32 or vector.shape != (size,):
        raise ValueError(f"parameters is {vector.dtype} {vector.shape}, not float32 ({size},)")
    spec = description["spec"]
    lists = {name: tuple(spec[name]) for name in ("observation_shape", "action_names")}
    progress = description["progress"]
    return SavedNetwork(
        path=path,
        config=from_values(description["config"]),
        spec=EnvSpec(**spec | lists),
        layout=names,
        total_steps=int(progress["total_steps"]),
        seconds=float(progress["seconds"]),
        vector=vector,
    )


def write_network(saved: SavedNetwork, path: Path) -> None:
    """Write the network alone; `read_network` reads it. Until it is whole, nothing is at ``path``.

    Raises:
        UserError: it cannot be written.
    """
    files.write(path, safetensors.numpy.save({"parameters": saved.vector}, metadata=metadata(saved)))


def metadata(saved: SavedNetwork) -> dict[str, str]:
    """What goes with an exported network, as text by name: all of it under ``async_rl``, and the rest for people."""
    spec, config = saved.spec, saved.config
    description = {
        "format": _FORMATS[-1],
        "config": dataclasses.asdict(config),
        "spec": dataclasses.asdict(spec),
        "layout": saved.layout,
        "progress": {"total_steps": saved.total_steps, "seconds": saved.seconds},
    }
    return {
        "async_rl": json.dumps(description),
        "game": spec.name,
        "action_names": " ".join(spec.action_names),
        "observation": f"{spec.observation_dtype} {' x '.join(map(str, spec.observation_shape))}",
        "preprocessing": _preprocessing(saved),
        "outputs": "logits of the policy, then V" if config.algorithm == "a3c" else "Q-values",
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
