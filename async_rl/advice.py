"""What is said of settings before a run begins: those that do nothing beside the others, or not what one may think."""

import math
from collections.abc import Callable

from async_rl.checking import flag
from async_rl.config import Config
from async_rl.envs import atari_game

_EFFECTS: tuple[tuple[tuple[str, ...], Callable[[Config], object], str], ...] = (
    (("target_interval",), lambda c: c.uses_target, "without a target network"),
    (("entropy_weight",), lambda c: c.has_policy, "but for a3c"),
    (
        ("exploration", "epsilon_anneal_steps", "final_epsilons", "final_epsilon_probabilities"),
        lambda c: not c.has_policy,
        "for a3c, which explores by its policy",
    ),
    (
        ("final_epsilons", "final_epsilon_probabilities"),
        lambda c: c.has_policy or c.exploration == "drawn",
        "with --exploration ladder",
    ),
    (("clip_gradients",), lambda c: math.isfinite(c.gradient_norm_limit), "without --max-gradient-norm"),
    (("rms_decay",), lambda c: c.optimizer != "momentum", "with --optimizer momentum"),
    (("rms_epsilon",), lambda c: c.optimizer == "rmsprop", "but with --optimizer rmsprop"),
    (("momentum_decay",), lambda c: c.optimizer != "rmsprop", "with --optimizer rmsprop"),
    (("adam_epsilon",), lambda c: c.optimizer == "adam", "but with --optimizer adam"),
    (("batch_size",), lambda c: c.replay or c.epochs > 1, "without --replay or --epochs"),
    (("learning_starts",), lambda c: c.replay, "without --replay"),
    (("evaluate_episodes",), lambda c: c.evaluate_every, "without --evaluate-every"),
    (("life_loss_ends_return",), atari_game, "but on Atari"),
    (("pixels",), lambda c: c.network != "mlp" and c.env != "catch", "but on screens"),
)
"""Settings, whether they change anything, and in which case they do not."""


def advice(config: Config) -> list[str]:
    """What to say of those of `_EFFECTS` that differ from the defaults in vain, and of what is seldom meant."""
    said = []
    for names, effective, case in _EFFECTS:
        if not effective(config) and (vain := [flag(name) for name in names if config.changes(name)]):
            said.append(f"no effect {case}: {', '.join(vain)}")
    if config.algorithm in ("n-step-q", "a3c") and config.t_max == 1:
        said.append(f"{config.algorithm} with --t-max 1 learns from single steps; Mnih et al. 2016 have --t-max 5")
    together = config.workers * config.steps_per_segment
    if config.uses_target and together > config.target_interval:
        said.append(f"the target is refreshed once in a segment of all workers, {together:,} steps, at most")
    if config.optimizer == "adam" and not config.changes("rms_decay"):
        said.append(f"adam with --rms-decay {config.rms_decay}; 0.999 is usual")
    return said
