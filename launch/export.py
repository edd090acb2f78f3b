"""The command line of export: the trained network alone, in one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True)
class Options:
    """Write a trained network alone into one file.

    agent.safetensors holds the parameters and everything that is needed to play with them; the other commands and
    async_rl.load take it in the place of a run. agent.pt is TorchScript, for programs that have only torch:
    torch.jit.load("agent.pt")(observations) with observations [B, ...] as they are told on the way.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, checkpoint or exported network (.safetensors)."""
    output: Path
    """File to write; its ending, .safetensors or .pt, says what."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Which checkpoint of a run directory."""
    trust_code: bool = False
    """Let the file name code of your own to import (package.module:function), as its environment or network."""


def main() -> None:
    """Run the command; exits with 0 (done) or 2 (bad input)."""
    options = command.read_arguments(Options, "launch.export")
    command.run(lambda: _run(options))


def _run(options: Options) -> None:
    command.check_run(options.run)
    if options.output.suffix not in (".safetensors", ".pt"):
        raise UserError(f"--output must end in .safetensors or .pt, got {options.output}.")
    from async_rl.export import metadata, write_network  # torch takes seconds to import

    saved = command.read_network(options.run, options.checkpoint, options.trust_code)
    if options.output.suffix == ".pt":
        from async_rl.traced import write_torchscript

        difference = write_torchscript(saved, options.output)
        print(f"outputs agree with the network's on random observations; largest relative difference: {difference:.1g}")
    else:
        write_network(saved, options.output)
    for name, value in metadata(saved).items():
        print(f"  {name:<14}{value}")
    size = options.output.stat().st_size
    shown = f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
    print(f"written to {options.output} ({shown})")


if __name__ == "__main__":
    main()
