"""Runs of one configuration belong together, whatever their seeds and games; their differences name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from async_rl.config import NOTHING_LEARNT
from async_rl.naming import METHOD, method_name, setting_text
from async_rl.plotting.runs import Run
from async_rl.types import UserError

SAME_LEARNING = frozenset({"seed", "shards", "cpus_per_island", *NOTHING_LEARNT})
"""Settings that may differ within a group: they change the random numbers, or nothing that is learnt."""

NAMING_ORDER = ("algorithm", *METHOD, "optimizer", "lr")
"""Settings by which groups are named first; the others follow in the order of ``config.toml``."""


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, with different seeds: one line of the picture.

    Attributes:
        label: what sets this group apart from the others, or its method if it is alone.
        runs: in the order in which they were named.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def games(self) -> tuple[str, ...]:
        """The different games that its runs play, sorted."""
        return tuple(sorted({run.game for run in self.runs}))


def group_runs(runs: Sequence[Run], labels: Sequence[str] = ()) -> list[Group]:
    """Put runs together whose settings are equal but for the seed (and for the game, if there are several).

    Args:
        runs: at least one.
        labels: one for each group, in the order of their first runs; empty: made from what differs.

    Raises:
        UserError: another number of labels than of groups, two labels that are the same, or groups that do not play the
            same games.
    """
    of_key: dict[str, list[Run]] = {}
    for run in runs:
        of_key.setdefault(repr(_learning(run)), []).append(run)
    members = list(of_key.values())
    if labels and len(labels) != len(members):
        raise UserError(f"expected {len(members)} --labels, one for each configuration, got {len(labels)}.")
    if len(set(labels)) < len(labels):
        raise UserError("--labels must be different names, or nobody could tell the lines apart.")
    made = labels or make_labels([_learning(group[0]) for group in members])
    groups = [Group(label, tuple(group)) for label, group in zip(made, members, strict=True)]
    for group in groups[1:]:
        if group.games != groups[0].games:
            raise UserError(
                f"groups of runs must play the same games to be compared: {groups[0].label} plays "
                f"{', '.join(groups[0].games)}, {group.label} plays {', '.join(group.games)}."
            )
    return groups


def _learning(run: Run) -> dict[str, Any]:
    unused = ("target", "target_interval") if run.settings["algorithm"] == "a3c" else ()
    return {name: value for name, value in run.settings.items() if name not in SAME_LEARNING.union(["env"], unused)}


def differences(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the settings that are not the same everywhere, the ones that name a group best first."""
    names = dict.fromkeys((*NAMING_ORDER, *(name for each in settings for name in each)))
    return [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]


def make_labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    """A short label for each of several different settings: the algorithm, and the fewest other differences that do."""
    if len(settings) == 1:
        return [method_name(settings[0])]
    labels = [str(each["algorithm"]) for each in settings]
    for name in differences(settings):
        texts = [setting_text(name, each.get(name)) for each in settings]
        longer = [", ".join(filter(None, pair)) for pair in zip(labels, texts, strict=True)]
        if name != "algorithm" and len(set(longer)) > len(set(labels)):
            labels = longer
    return labels
