"""Equations against independent scalar restatements in Python floats, written from the paper (arXiv 1602.01783)."""

import errno
import itertools
import math
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from async_rl.config import Config
from async_rl.kernels.compiling import exactly_compiled
from async_rl.networks import Pixels, Scale, StandardizedPixels, UnitPixels, make_network
from async_rl.optimizers import Adam, Momentum, RMSProp
from async_rl.policies import draw_final_epsilon, epsilon_greedy, softmax_sample
from async_rl.rounded import Rounded
from async_rl.schedules import epsilons, learning_rate
from async_rl.shared import bind, bind_gradients, flatten, parameter_count
from async_rl.types import EnvSpec, UserError

VECTOR = EnvSpec("vector", (3,), "float32", ("a", "b"))
SCREENS = EnvSpec("screens", (84, 84, 4), "uint8", ("a", "b", "c", "d", "e", "f"))


def gradients(seed: int, size: int, updates: int) -> torch.Tensor:
    return torch.randn(updates, size, generator=torch.Generator().manual_seed(seed))


def test_rmsprop_is_equations_8_and_9() -> None:
    """g <- alpha g + (1 - alpha) d^2; theta <- theta - eta d / sqrt(g + epsilon), element by element."""
    alpha, epsilon, size = 0.99, 0.1, 7
    theta, gradient, mean_square = torch.ones(size), torch.zeros(size), torch.zeros(size)
    optimizer = RMSProp(theta, gradient, mean_square, alpha, epsilon)
    expected, g = [1.0] * size, [0.0] * size
    for update, sample in enumerate(gradients(0, size, 50)):
        lr = 0.01 / (1 + update)
        gradient.copy_(sample)
        optimizer.apply(lr)
        for i, d in enumerate(sample.tolist()):
            g[i] = alpha * g[i] + (1 - alpha) * d * d
            expected[i] -= lr * d / math.sqrt(g[i] + epsilon)
    np.testing.assert_allclose(theta.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(mean_square.numpy(), g, rtol=1e-5)


def test_rmsprop_is_torch_optim_with_epsilon_moved_into_the_root() -> None:
    """torch.optim.RMSprop divides by sqrt(g) + its eps; that eps is chosen anew at each update so that both agree."""
    epsilon, size = 0.1, 1
    theta, gradient, mean_square = torch.ones(size), torch.zeros(size), torch.zeros(size)
    optimizer = RMSProp(theta, gradient, mean_square, 0.99, epsilon)
    twin = nn.Parameter(torch.ones(size))
    theirs = torch.optim.RMSprop([twin], lr=0.01, alpha=0.99)
    g = 0.0
    for sample in gradients(1, size, 50):
        g = 0.99 * g + 0.01 * float(sample[0]) ** 2
        theirs.param_groups[0]["eps"] = math.sqrt(g + epsilon) - math.sqrt(g)
        twin.grad = sample.clone()
        theirs.step()
        gradient.copy_(sample)
        optimizer.apply(0.01)
        np.testing.assert_allclose(theta.numpy(), twin.detach().numpy(), rtol=1e-5)


def test_rmsprop_leaves_what_it_has_written_in_bfloat16_too() -> None:
    """The same update; the rounded copy is as torch rounds, and is not made again by the refresh that follows."""
    size = 5000  # some pieces of the compiled pass, and a rest
    results = []
    for copied in (False, True):
        theta, mean_square = torch.ones(size), torch.zeros(size)
        rounded = Rounded(theta) if copied else None
        gradient = gradients(2, size, 1)[0]
        RMSProp(theta, gradient, mean_square, 0.99, 1e-5, rounded).apply(0.01)
        results.append((theta, mean_square))
    for without, with_copy in zip(*results, strict=True):
        assert torch.equal(without, with_copy)
    torch.testing.assert_close(theta, 1 - 0.01 * gradient / (0.01 * gradient.square() + 1e-5).sqrt())
    assert rounded is not None and torch.equal(rounded.vector, theta.bfloat16())
    theta += 1.0  # of another worker
    rounded.refresh()
    assert not torch.equal(rounded.vector, theta.bfloat16())
    rounded.refresh()  # no update has been made since
    assert torch.equal(rounded.vector, theta.bfloat16())


def test_statistics_are_shared_by_whoever_gets_the_same_vector() -> None:
    mean_square = torch.zeros(1)
    for _ in range(2):
        RMSProp(torch.ones(1), torch.ones(1), mean_square, 0.5, 0.1).apply(0.1)
    assert float(mean_square) == 0.75


def test_momentum_is_the_papers() -> None:
    """m <- alpha m + (1 - alpha) d; theta <- theta - eta m."""
    theta, gradient, mean = torch.ones(3), torch.zeros(3), torch.zeros(3)
    optimizer = Momentum(theta, gradient, mean, decay=0.9)
    expected, m = [1.0] * 3, [0.0] * 3
    for sample in gradients(2, 3, 30):
        gradient.copy_(sample)
        optimizer.apply(0.01)
        for i, d in enumerate(sample.tolist()):
            m[i] = 0.9 * m[i] + 0.1 * d
            expected[i] -= 0.01 * m[i]
    np.testing.assert_allclose(theta.numpy(), expected, rtol=1e-5)


def test_adam_is_torch_optim() -> None:
    theta, gradient, statistics = torch.ones(5), torch.zeros(5), torch.zeros(2, 5)
    updates = iter(range(100))
    optimizer = Adam(theta, gradient, *statistics, lambda: next(updates), 0.9, 0.999, 1e-8)
    twin = nn.Parameter(torch.ones(5))
    theirs = torch.optim.Adam([twin], lr=0.01)
    for update, sample in enumerate(gradients(3, 5, 50)):
        lr = theirs.param_groups[0]["lr"] = 0.01 / (1 + update)  # a rate that changes must not compound
        twin.grad = sample.clone()
        theirs.step()
        gradient.copy_(sample)
        optimizer.apply(lr)
    np.testing.assert_allclose(theta.numpy(), twin.detach().numpy(), rtol=1e-5)


@given(
    samples=st.lists(st.sampled_from([0.0, 1e-3, 1.0, -1.0, 300.0]), min_size=1, max_size=60),
    decays=st.sampled_from([(0.9, 0.999), (0.9, 0.99), (0.0, 0.0), (0.95, 0.5), (0.5, 0.3)]),
)
def test_the_limit_of_adam_changes_nothing_in_any_sequence_of_gradients(
    samples: list[float], decays: tuple[float, float]
) -> None:
    theta, gradient, statistics = torch.zeros(1), torch.zeros(1), torch.zeros(2, 1)
    updates = iter(range(100))
    optimizer = Adam(theta, gradient, *statistics, lambda: next(updates), *decays, 1e-8)
    expected = mean = square = 0.0
    for count, sample in enumerate(samples, 1):
        gradient.fill_(sample)
        optimizer.apply(0.01)
        mean = decays[0] * mean + (1 - decays[0]) * sample
        square = decays[1] * square + (1 - decays[1]) * sample**2
        corrected = mean / (1 - decays[0] ** count), square / (1 - decays[1] ** count)
        expected -= 0.01 * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
        assert float(theta) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("updates", [0, 5, 1000])
def test_adam_with_a_mean_whose_square_another_worker_has_overwritten_takes_a_bounded_step(updates: int) -> None:
    theta, mean = torch.zeros(2), torch.tensor([0.5, -0.5])
    Adam(theta, torch.zeros(2), mean, torch.zeros(2), lambda: updates, 0.9, 0.999, 1e-8).apply(0.01)
    limit = 0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999))
    np.testing.assert_allclose(theta.numpy(), [-0.01 * limit, 0.01 * limit], rtol=1e-5)


@given(total_steps=st.integers(0, 3000))
def test_schedules_are_straight_lines(total_steps: int) -> None:
    config = Config(steps=1000, lr=0.5, epsilon_anneal_steps=2000)
    assert learning_rate(config, total_steps) == pytest.approx(0.5 * max(0.0, 1 - total_steps / 1000))
    done = min(1.0, total_steps / 2000)
    final = [0.1, 0.5]
    expected = [1 + (f - 1) * done for f in final]
    np.testing.assert_allclose(epsilons(config, np.array(final), total_steps), expected)


def test_constant_learning_rate_and_no_annealing() -> None:
    assert learning_rate(Config(steps=10, lr=0.5, lr_schedule="constant"), 9) == 0.5
    assert epsilons(Config(epsilon_anneal_steps=0), np.array([0.1]), 0).tolist() == [0.1]


def test_epsilon_greedy_explores_each_stream_with_its_own_epsilon() -> None:
    generators = [np.random.default_rng(stream) for stream in range(3)]
    values = np.array([[0, 1, 0, 0], [2, 1, 0, 0], [0, 1, 0, 3]], np.float32)
    chosen = np.stack([epsilon_greedy(values, np.array([0.0, 0.4, 1.0]), generators) for _ in range(20_000)])
    assert (chosen[:, 0] == 1).all()
    for stream, (best, epsilon) in enumerate([(1, 0.0), (0, 0.4), (3, 1.0)]):
        expected = np.full(4, epsilon / 4)
        expected[best] += 1 - epsilon
        np.testing.assert_allclose(np.bincount(chosen[:, stream], minlength=4) / 20_000, expected, atol=0.015)


def test_softmax_sample_draws_from_the_policy_and_ignores_the_value() -> None:
    generators = [np.random.default_rng(stream) for stream in range(2)]
    outputs = np.array([[0.0, 1.0, 2.0, 99.0], [500.0, 500.0, -500.0, -99.0]], np.float32)
    chosen = np.stack([softmax_sample(outputs, np.ones(2), generators) for _ in range(20_000)])
    for stream, weights in enumerate([np.exp([0, 1, 2]), [1, 1, 0]]):
        shares = np.bincount(chosen[:, stream], minlength=3) / 20_000
        np.testing.assert_allclose(shares, weights / np.sum(weights), atol=0.015)


def test_final_epsilons_are_drawn_as_the_paper_does() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_final_epsilon((0.1, 0.01, 0.5), (0.4, 0.3, 0.3), random) for _ in range(20_000)]
    shares = [drawn.count(epsilon) / 20_000 for epsilon in (0.1, 0.01, 0.5)]
    np.testing.assert_allclose(shares, (0.4, 0.3, 0.3), atol=0.015)


@pytest.mark.parametrize("pixels", ["standardized", "unit"])
def test_papers_network_has_its_shapes_and_initialisation(pixels: str) -> None:
    network = make_network(Config(pixels=pixels), SCREENS)  # type: ignore[arg-type]
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    hidden = 9 * 9 * 32
    weights = [(16, 4, 8, 8), (32, 16, 4, 4), (256, hidden), (6, 256)]
    assert shapes == [shape for weight in weights for shape in (weight, weight[:1])]
    for weight, bias in zip(*[iter(network.parameters())] * 2, strict=True):
        bound = 1 / math.sqrt(weight[0].numel())
        for values in (weight, bias):
            assert float(values.detach().abs().max()) <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert network(torch.zeros(2, 84, 84, 4, dtype=torch.uint8)).shape == (2, 6)


def test_dueling_network_is_value_plus_centred_advantage() -> None:
    network = make_network(Config(dueling=True), VECTOR)
    observation = torch.randn(4, 3)
    features = network[:-1](observation)  # type: ignore[index]
    value, advantage = network[-1].value(features), network[-1].advantage(features)  # type: ignore[index]
    for sample in range(4):
        mean = sum(advantage[sample].tolist()) / 2
        expected = [value[sample].item() + a - mean for a in advantage[sample].tolist()]
        np.testing.assert_allclose(network(observation)[sample].detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_layer_norm_stands_before_each_rectifier() -> None:
    for config, spec in ((Config(norm="layer"), SCREENS), (Config(norm="layer", dueling=True), VECTOR)):
        layers = [module for module in make_network(config, spec).modules() if not list(module.children())]
        before = [a for a, b in itertools.pairwise(layers) if isinstance(b, nn.ReLU)]
        assert len(before) == 3 and all(isinstance(module, nn.LayerNorm) for module in before)


def test_actor_critic_network_has_one_output_more() -> None:
    assert make_network(Config(algorithm="a3c"), SCREENS)(torch.zeros(1, 84, 84, 4, dtype=torch.uint8)).shape == (1, 7)


def test_pixels_enter_scaled_and_in_the_order_of_convolutions() -> None:
    screens = torch.randint(0, 256, (3, 84, 84, 4), dtype=torch.uint8)
    unit, standardized = UnitPixels()(screens), StandardizedPixels()(screens)
    np.testing.assert_allclose(unit.numpy(), np.moveaxis(screens.numpy(), -1, 1) / 255, rtol=1e-6)
    exact = np.moveaxis(screens.numpy().astype(np.float64), -1, 1)
    mean, variance = (f(exact, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.var))
    np.testing.assert_allclose(standardized.numpy(), (exact - mean) / np.sqrt(variance + 1), atol=1e-4)
    for level, side in ((0, 84), (77, 84), (255, 300)):
        blank = StandardizedPixels()(torch.full((1, side, side, 4), level, dtype=torch.uint8))
        assert float(blank.abs().max()) < 0.1
    for pixels in (unit, standardized):
        assert pixels.is_contiguous(memory_format=torch.channels_last)
    module: Pixels
    for module, pixels in ((UnitPixels(), unit), (StandardizedPixels(), standardized)):
        blocks = torch.empty(3, 10, 16, 8, 5 * 4, dtype=torch.bfloat16)  # of 8 x 5; 4 rows and columns are left out
        module.write(screens.numpy(), blocks.view(torch.uint16).numpy())
        for b, row, column, y, x, c in ((0, 0, 0, 0, 0, 0), (2, 9, 15, 7, 4, 3), (1, 3, 7, 2, 1, 2)):
            assert blocks[b, row, column, y, 4 * x + c] == pixels[b, c, 8 * row + y, 5 * column + x].bfloat16()


def test_a_convolutional_network_needs_an_image() -> None:
    with pytest.raises(UserError, match="--network nips needs an image"):
        make_network(Config(network="nips"), VECTOR)


def test_one_seed_one_network() -> None:
    first, again, other = (flatten(make_network(Config(seed=seed), VECTOR)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_modules_live_in_the_vector_they_are_bound_to() -> None:
    network = make_network(Config(), VECTOR)
    vector, gradient = flatten(network), torch.zeros(parameter_count(network))
    bind(network, vector)
    bind_gradients(network, gradient)
    observation = torch.randn(5, 3)
    before = network(observation)
    vector.mul_(2.0)
    assert not torch.equal(network(observation), before)
    network(observation).sum().backward()
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(network(observation).sum(), network.parameters())])
    torch.testing.assert_close(gradient, expected)
    with pytest.raises(ValueError, match="a vector of"):
        bind(network, torch.zeros(3))


def test_machine_code_is_kept_only_as_long_as_all_that_it_was_made_of(tmp_path: Path) -> None:
    """A kernel is compiled anew where a function that it calls has changed, although that is in another file."""
    compiling = (ROOT / "async_rl" / "kernels" / "compiling.py").read_text(encoding="utf-8")
    (tmp_path / "kernel.py").write_text(
        "from compiling import compiled, to_bfloat16\n"
        "@compiled\ndef kernel(bits):\n    return to_bfloat16(bits)\n"
        "import numpy as np\nprint(kernel(np.uint32(0x3F80FFFF)), sum(kernel.stats.cache_hits.values()))\n"
    )
    printed = []
    for source in (compiling, compiling, compiling.replace("0x7FFF", "0x0000")):
        (tmp_path / "compiling.py").write_text(source)
        command = [sys.executable, "-B", "-c", "import kernel"]  # an old .pyc may look like that of the new file
        printed.append(
            subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300).stdout.split()
        )
    nearest, cut = str(0x3F81), str(0x3F80)
    assert printed == [[nearest, "0"], [nearest, "1"], [cut, "0"]]


def test_where_the_disk_is_full_a_kernel_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code is just not kept."""
    save = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", save)

    def add_one(x: float) -> float:
        return x + 1

    assert exactly_compiled(add_one)(2.0) == 3.0 and save.called


def test_bytes_enter_a_small_network_as_numbers_between_0_and_1() -> None:
    observation = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(Scale()(observation), torch.tensor([[0.0, 0.2, 1.0]]))
    assert torch.equal(Scale()(torch.tensor([[3.5]])), torch.tensor([[3.5]]))
