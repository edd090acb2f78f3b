"""``python -m launch.cluster``: the training of ``launch.async`` on many machines, with Ray; ``--help`` lists all."""

import dataclasses
import importlib.util
import sys
from dataclasses import dataclass
from functools import partial

from async_rl.cluster.settings import ClusterSettings, changes, is_spread_as, recorded
from async_rl.config import Config
from async_rl.types import UserError
from launch.command import run, tell
from launch.train import AUTO, Command, base, files_named, read_over, settings, train_by


@dataclass(frozen=True)
class ClusterCommand(ClusterSettings, Command):
    """Asynchronous actor-learners on many machines: each is an island, where many processes share one Q-network without
    a lock; islands exchange their parameters.

    Joins a running Ray cluster or, without --address, starts one on this machine for this run. --workers is for each
    island; everything else is as in launch.async, and T counts the steps of all islands. Everybody who reaches the
    ports of a Ray cluster can run any code there: keep them inside a network that you trust. [1] to [4] are named by
    launch.async --help.
    """

    address: str | None = None
    """A running Ray cluster: host:port of its head, or auto for the one that this machine belongs to; default: start
    one here."""

    def __post_init__(self) -> None:
        Command.__post_init__(self)
        ClusterSettings.__post_init__(self)
        if self.address is not None and not self.address.strip():
            raise UserError("--address must be host:port or auto, got nothing; leave it out to start a cluster here.")


def parse(arguments: list[str]) -> ClusterCommand:
    """The command that the arguments mean; see `launch.train.parse`."""
    file, resume = files_named(arguments)
    before = ClusterSettings() if resume is None else recorded(resume)
    config = base(file, resume)
    values = settings(config) | {"workers": max(1, config.workers // before.islands)}
    defaults = ClusterCommand(**values, **dataclasses.asdict(before))
    return read_over(defaults, "launch.cluster", arguments)


def train(command: ClusterCommand) -> int:
    """Train on a cluster as the command says; the exit code."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("launch.cluster needs Ray, which is not installed; install it with pip install '.[cluster]'.")
    spread = ClusterSettings(**{f.name: getattr(command, f.name) for f in dataclasses.fields(ClusterSettings)})
    if command.workers * command.islands > 4096:
        raise UserError(
            f"--islands times --workers must be at most 4096, got {command.islands} times {command.workers}."
        )
    if command.islands > 1 and command.rewards == "scaled":
        raise UserError("--rewards scaled needs a single island: each would scale by the largest reward of its own.")
    before = spread if command.resume in (None, AUTO) else recorded(command.resume)
    for change in changes(before, spread):
        tell(f"goes on with another {change}")
    everybody = Config(**settings(command) | {"workers": command.workers * command.islands})
    from async_rl.cluster.connection import connected  # Ray takes a second to import
    from async_rl.cluster.islands import Islands

    with connected(spread, command.workers, command.address) as (cluster, said):
        for sentence in said:
            tell(sentence)
        return train_by(
            command,
            everybody,
            make_workers=lambda *parts: Islands(cluster, *parts),
            fits=partial(is_spread_as, spread),
            module="cluster",
        )


def main() -> None:
    """Run the command; exits with 0 (done), 1 (failed), 2 (bad input), 129, 130 or 143 (SIGHUP, Ctrl-C, SIGTERM)."""
    run(lambda: train(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
