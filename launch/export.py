"""``python -m launch.export``: the trained network alone, in one file."""

from dataclasses import dataclass
from pathlib import Path

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True, kw_only=True)
class Options(command.OfNetwork):
    """Write a trained network alone into one file.

    agent.safetensors holds the parameters and everything that is needed to play with them; the other commands and
    async_rl.load take it in the place of a run. agent.pt is TorchScript, for programs that have only torch:
    torch.jit.load("agent.pt")(observations) with observations [B, ...] as they are told on the way.
    """

    output: Path
    """File to write; its ending, .safetensors or .pt, says what."""


def main() -> None:
    """Run the command; exits with 0 (done) or 2 (bad input)."""
    command.run(lambda: _run(command.read_arguments(Options, "launch.export")))


def _run(options: Options) -> None:
    command.check_run(options.run)
    ending = options.output.suffix.lower()
    if ending not in (".safetensors", ".pt"):
        raise UserError(f"--output must end in .safetensors or .pt, got {options.output}.")
    from async_rl.export import metadata, write_network  # torch takes seconds to import

    saved = options.read_network()
    if ending == ".pt":
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
