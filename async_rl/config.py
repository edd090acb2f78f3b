"""Every setting of a training run on one screen, with unit, default and source.

The help of the command line, the keys of the TOML files in ``configs/`` and the record in a run directory are all made
from the fields of `Config`. [1] is Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", arXiv
1602.01783; [2] is Mnih et al. 2015, "Human-level control through deep reinforcement learning"; [3] is Gallici et al.
2024 (PQN), arXiv 2407.04811; [4] is Schaul et al. 2016, "Prioritized experience replay", arXiv 1511.05952. *step*: one
decision in one emulator; *frame*: one emulator frame, four a step on Atari.
"""

import dataclasses
import functools
import math
import typing
from dataclasses import dataclass
from typing import Any, Literal

from async_rl.checking import at_least, checked, flag, positive, shown, within
from async_rl.cores import available_cores
from async_rl.types import UserError


@dataclass(frozen=True)
class Config:
    """Asynchronous actor-learners: many processes, one Q-network in shared memory, no lock."""

    env: str = "pong"
    """Game: an Atari game by its plain name or a known id (ALE/Pong-v5; sticky actions only by --sticky), a Gymnasium
    id (CartPole-v1), a function of your own (package.module:function) or the toy "catch"."""
    algorithm: Literal["one-step-q", "one-step-sarsa", "n-step-q", "a3c"] = "one-step-q"
    """Algorithm 1 of [1], its Sarsa form (section 4), S2 or S3. The last two look --t-max steps ahead, and work on a
    copy of theta that is taken at the start of each segment."""
    steps: int = 10_000_000
    """Steps to train, counted over all workers; on Atari a step is 4 frames. [1]: 80 million."""
    seed: int = 0
    """Seed of every random number of the run. One worker and one seed give the same parameters twice."""

    # Processes.
    workers: int = dataclasses.field(default_factory=available_cores)
    """Worker processes; auto, the default: as many as there are cores that this program may use. [1]: 16 threads."""
    envs_per_worker: int = 16
    """Emulators in each worker, played together with one batched forward pass. [1]: 1."""
    pin: Literal["none", "node", "core"] = "node"
    """Where workers stay: on one NUMA node each, in turn; on one core each, in turn; or none: wherever the system puts
    them. With one node, "node" changes nothing; "core" is for a machine that nobody else uses."""

    # Learning.
    t_max: int = 1
    """Steps of every stream between two updates of its worker (I_AsyncUpdate). [1]: 5, with one stream a worker."""
    gamma: float = 0.99
    """Discount of the return per step. [1]: 0.99."""
    double: bool = False
    """Double Q-learning: the network picks the next action, the target values it (van Hasselt et al. 2015)."""
    lambda_: float | None = None
    """Decay of lambda-returns within a segment: 0 is one-step, 1 n-step; default: the algorithm's own. one-step-q and
    n-step-q then differ only in the copy. [3]: 0.65."""
    target: Literal["shared", "none"] = "shared"
    """Network that values what comes next: a shared copy, refreshed now and then, or (none) the network itself. [1]:
    shared for value methods, none for a3c; [3]: none."""
    target_interval: int = 2_500
    """Steps of all workers between two refreshes of the target network. [1]: 10,000 (40,000 frames)."""
    loss: Literal["squared", "huber"] = "squared"
    """Loss of TD errors: squared, or huber: half of that, with a slope of at most 1. [1]: squared; [2]: huber."""
    entropy_weight: float = 0.01
    """a3c: weight of the policy's entropy. [1]: 0.01."""
    max_gradient_norm: float | None = None
    """Longer gradients, each a sum over all steps of an update, are scaled to this Euclidean norm; default: 40 for a3c
    ([1], authors' mail, for 5 steps), else no limit."""
    clip_gradients: Literal["whole", "layer"] = "whole"
    """What --max-gradient-norm limits: the norm of the whole gradient, or that of each layer's weight and of its bias.
    [1]: whole."""
    epochs: int = 1
    """Value methods, online: times that each step of a segment is learnt from. 1: once, in one update of all of them;
    else --batch-size steps an update, in a new order each time, towards returns that stay as they were. [1]: 1."""
    optimizer: Literal["rmsprop", "momentum", "adam"] = "rmsprop"
    """Update rule. [1]: RMSProp without momentum."""
    statistics: Literal["shared", "local"] = "shared"
    """Whether the optimiser's statistics are shared by all workers or each has its own. [1]: shared."""
    lr: float = 2.5e-4
    """Learning rate at the start. [1]: LogUniform(1e-4, 1e-2), best near 7e-4."""
    lr_range: tuple[float, float] | None = None
    """Draw the learning rate at the start from LogUniform(low, high) instead, by the seed. [1]: 1e-4 1e-2."""
    lr_schedule: Literal["linear", "constant"] = "linear"
    """How the learning rate goes on: linear is annealed to 0 at --steps. [1]: linear."""
    rms_decay: float = 0.99
    """rmsprop, adam: decay of the mean square per update. [1]: 0.99; for adam 0.999 is usual."""
    rms_epsilon: float = 1e-5
    """rmsprop: added to the mean square inside the root. [1]: 0.1."""
    momentum_decay: float = 0.9
    """momentum, adam: decay of the mean gradient per update. Kingma and Ba 2015: 0.9."""
    adam_epsilon: float = 1e-8
    """adam: added to the root of the mean square. Kingma and Ba 2015: 1e-8."""
    rewards: Literal["clipped", "scaled", "raw"] = "clipped"
    """Rewards as learning sees them: clipped to [-1, 1], divided by the largest that any worker has seen so far (in a
    replay memory: had seen then), or raw. [1], [2]: clipped."""
    network: str = "auto"
    """Q-network: nips is the one of [1] (16 8x8/4, 32 4x4/2, 256), nature that of [2] (32 8x8/4, 64 4x4/2, 64 3x3/1,
    512), mlp two layers of 64; auto: nips for screens, else mlp; or a function of your own (package.module:function)
    that takes the observation's shape and the number of outputs and returns a torch module, which acts and learns in
    its training mode."""
    dueling: bool = False
    """Dueling heads: Q = V + A - mean of A, each with a hidden layer of its own (Wang et al. 2016)."""
    norm: Literal["none", "layer"] = "none"
    """Layer normalisation before each ReLU, of a convolution's channels and positions all at once, or none ([1]). [3]
    normalises a convolution's channels at each position."""
    pixels: Literal["standardized", "unit"] = "standardized"
    """How screens enter the network: each stack standardized to mean 0 and variance 1, or divided by 255. [2]: unit."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers in which the network's layers compute, all but the last one (of a network of your own that autograd
    differentiates: all); parameters and their updates are float32 in any case. auto: bfloat16 where the processor is
    faster in it (with AMX; AMD's with AVX512-BF16) and the network is one of those above, or of their layers, with
    100,000 parameters or more; else float32. [1]: float32."""

    # Replay; a worker keeps its own share of it, as in Gorila (Nair et al. 2015).
    replay: int = 0
    """Steps that the replay memories of all workers hold together, 7.1 kB each on Atari; 0: learn online. A worker
    that is started again begins with an empty one, and so does a run that is resumed. [1]: 0; [2]: 1,000,000."""
    batch_size: int = 32
    """Replay: steps drawn for an update, of which there is one after each segment: 32 with segments of 16 steps learn
    from each step twice, with 4 steps as in [2] eight times. With --epochs: steps of an update. [2]: 32."""
    learning_starts: int = 50_000
    """Replay: steps that the memories hold before the first update; a quarter of --replay, if that is less. [2]:
    50,000."""
    prioritized: bool = False
    """Replay: draw steps in proportion to their TD error to the power 0.6, with importance weights whose exponent rises
    from 0.4 to 1 over the run. [4]."""

    # Exploration.
    exploration: Literal["drawn", "ladder"] = "drawn"
    """Where the final epsilon of a stream comes from: drawn from --final-epsilons, or from a geometric ladder over all
    streams, 0.4 to 0.4^8 (Horgan et al. 2018, arXiv 1803.00933). [1]: drawn."""
    final_epsilons: tuple[float, ...] = (0.1, 0.01)
    """Final epsilons; each stream draws one of them. [1]: 0.1 0.01 0.5."""
    final_epsilon_probabilities: tuple[float, ...] = (0.5, 0.5)
    """Probability of each final epsilon. [1]: 0.4 0.3 0.3."""
    epsilon_anneal_steps: int = 500_000
    """Steps of all workers over which epsilon falls linearly from 1 to its final value. [1]: 4 million frames."""

    # Atari protocol.
    sticky: float = 0.0
    """Probability that the emulator repeats the previous action (sticky actions). [1], [2]: 0; newer protocol: 0.25."""
    no_ops: int = 30
    """Most no-op actions at the start of a game; their number is drawn from 1 to this. [2]: 30."""
    life_loss_ends_return: bool = True
    """Discount 0 when a life is lost; the game goes on. [1] does not say; [2]: yes."""
    max_episode_frames: int = 108_000
    """Frames after which a game is cut (half an hour of play); the return is bootstrapped there. 108,000 is usual since
    Nair et al. 2015; [2] played five minutes, 18,000, to evaluate."""

    # The run.
    heartbeat_seconds: float = 60.0
    """Seconds of silence, without a step of an environment, after which a worker is taken for dead and started anew."""
    checkpoint_seconds: float = 300.0
    """Seconds between two checkpoints."""
    evaluate_every: int = 0
    """Steps between two evaluations of the network by whole games in a process of its own, as launch.evaluate has them,
    but other games, by which checkpoints/best is picked. 0: none, and it is picked by the training scores."""
    evaluate_episodes: int = 30
    """Games of each evaluation during training."""
    profile: bool = False
    """Show on the terminal how many microseconds of a worker each phase of a step takes; metrics.csv always has it."""
    report_seconds: float = 10.0
    """Seconds between two rows of metrics.csv and TensorBoard; a plain terminal gets a line as often."""

    def __post_init__(self) -> None:
        for name, hint in _hints().items():
            value = getattr(self, name)
            value = available_cores() if (name, value) == ("workers", "auto") else value
            object.__setattr__(self, name, checked(name.rstrip("_"), value, hint))
        for name, valid, expected in _RULES:
            value = getattr(self, name)
            if not valid(value):
                raise UserError(f"{flag(name)} must be {expected}, got {shown(value)}.")
        lengths = len(self.final_epsilons), len(self.final_epsilon_probabilities)
        if lengths[0] != lengths[1]:
            each = "--final-epsilons and --final-epsilon-probabilities"
            raise UserError(f"{each} must have the same length, got {lengths[0]} and {lengths[1]}.")
        for name in _MEANINGLESS.get(self.algorithm, ()):
            if self.changes(name):
                raise UserError(f"{flag(name)} has no meaning with --algorithm {self.algorithm}.")
        if self.lambda_ and self.t_max == 1:
            raise UserError("--lambda has no meaning with --t-max 1: give the steps of a segment, such as --t-max 4.")
        if (streams := self.streams) > _MOST_STREAMS:
            raise UserError(f"--workers times --envs-per-worker must be at most {_MOST_STREAMS:,}, got {streams:,}.")
        if 0 < self.replay < (least := 5 * streams):
            raise UserError(f"--replay must be 0 or at least {least}: 5 steps for each stream, got {self.replay}.")
        if self.double and self.target == "none":
            raise UserError("--double has no meaning with --target none: both networks would be the same.")
        if self.prioritized and not self.replay:
            raise UserError("--prioritized needs --replay SIZE, a number of steps.")
        if self.replay and self.lambda_:
            raise UserError("--lambda has no meaning with --replay, out of which each step comes alone.")
        if self.epochs > 1 and (self.replay or self.steps_per_segment % self.batch_size):
            raise UserError(
                "--epochs needs --replay 0 and a --batch-size that divides --t-max times --envs-per-worker, got "
                f"--replay {self.replay}, --batch-size {self.batch_size} and {self.t_max} times {self.envs_per_worker}."
            )
        for name in ("dueling", "norm", "pixels"):
            if ":" in self.network and self.changes(name):
                raise UserError(f"{flag(name)} has no meaning with a --network of your own, got {self.network}.")

    def changes(self, name: str) -> bool:
        """Whether a setting is another than by default."""
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)

    @property
    def uses_target(self) -> bool:
        """Whether there is a target network."""
        return self.target == "shared" and not self.has_policy

    @property
    def has_policy(self) -> bool:
        """Whether the network has a policy and its value for outputs, instead of action values."""
        return self.algorithm == "a3c"

    @property
    def gradient_norm_limit(self) -> float:
        """Euclidean norm to which longer gradients are scaled; infinite where there is no limit."""
        return self.max_gradient_norm or (40.0 if self.has_policy else math.inf)

    @property
    def streams(self) -> int:
        """Of all workers together."""
        return self.workers * self.envs_per_worker

    @property
    def steps_per_segment(self) -> int:
        """Steps between two updates of one worker."""
        return self.t_max * self.envs_per_worker


@functools.cache
def _hints() -> dict[str, Any]:
    """Field -> type; a command may declare them once more in its own terms."""
    return typing.get_type_hints(Config)


_MOST_STREAMS = 65_536
"""What is drawn for each of them before the start takes seconds then."""

NOTHING_LEARNT = (
    "report_seconds", "checkpoint_seconds", "heartbeat_seconds",
    "evaluate_every", "evaluate_episodes", "profile", "pin",
)  # fmt: skip
"""Settings that change nothing of what is learnt: where workers stay, and how often something is reported, saved or
evaluated."""

_RULES: tuple[tuple[str, Any, str], ...] = (
    ("env", lambda value: bool(value.strip()) and value.isprintable(), "the name of a game"),
    (
        "network",
        lambda value: value in ("auto", "nips", "nature", "mlp") or (":" in value and value.isprintable()),
        "auto, nips, nature, mlp or package.module:function",
    ),
    ("steps", within(1, 10**15), "between 1 and 10^15"),
    ("seed", within(0, 2**63 - 1), "between 0 and 2^63 - 1"),
    ("workers", within(1, 4096), "between 1 and 4096"),
    ("envs_per_worker", within(1, 4096), "between 1 and 4096"),
    ("t_max", within(1, 100_000), "between 1 and 100,000"),
    ("gamma", within(0, 1), "between 0 and 1"),
    ("lambda_", lambda value: value is None or 0 <= value <= 1, "between 0 and 1"),
    ("target_interval", within(1, 10**15), "between 1 and 10^15"),
    ("entropy_weight", at_least(0), "a finite number, at least 0"),
    ("max_gradient_norm", lambda value: value is None or positive(value), "a finite number above 0"),
    ("lr", positive, "a finite number above 0"),
    (
        "lr_range",
        lambda v: v is None or (len(v) == 2 and 0 < v[0] <= v[1] < math.inf),
        "two finite numbers above 0, the lower one first",
    ),
    ("replay", within(0, 10**12), "between 0 and 10^12"),
    ("batch_size", within(1, 10**6), "between 1 and 10^6"),
    ("learning_starts", within(0, 10**15), "between 0 and 10^15"),
    ("epochs", within(1, 10_000), "between 1 and 10,000"),
    ("rms_decay", lambda value: 0 <= value < 1, "at least 0 and below 1"),
    ("rms_epsilon", within(1e-37, 1e37), "between 1e-37 and 1e37"),  # float32 has no smaller normal ones
    ("momentum_decay", lambda value: 0 <= value < 1, "at least 0 and below 1"),
    ("adam_epsilon", within(1e-37, 1e37), "between 1e-37 and 1e37"),
    ("final_epsilons", lambda v: len(v) > 0 and all(0 <= e <= 1 for e in v), "one or more numbers between 0 and 1"),
    (
        "final_epsilon_probabilities",
        lambda v: all(0 <= p <= 1 for p in v) and math.isclose(sum(v), 1, abs_tol=1e-6),
        "numbers between 0 and 1 whose sum is 1",
    ),
    ("epsilon_anneal_steps", within(0, 10**15), "between 0 and 10^15"),
    ("sticky", within(0, 1), "between 0 and 1"),
    ("no_ops", within(0, 10_000), "between 0 and 10,000"),
    ("max_episode_frames", within(1, 10**9), "between 1 and 10^9"),
    ("evaluate_every", within(0, 10**15), "between 0 and 10^15"),
    ("evaluate_episodes", within(1, 10**6), "between 1 and 1,000,000"),
    ("heartbeat_seconds", at_least(1), "at least 1 second"),
    ("checkpoint_seconds", at_least(1), "at least 1 second"),
    ("report_seconds", at_least(0.1), "at least 0.1 seconds"),
)

_MEANINGLESS: dict[str, tuple[str, ...]] = {
    "a3c": ("replay", "double", "dueling", "lambda_", "epochs", "loss"),  # it learns the policy that acts, by its steps
    "n-step-q": ("replay",),  # a step drawn from it stands alone
    "one-step-sarsa": ("replay", "double"),  # its next action is the one taken, by the policy of now
}
"""Algorithm -> settings that it cannot be combined with."""
