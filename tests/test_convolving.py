"""The compiled loops for convolutions do what sums of single numbers do."""

import itertools
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from async_rl import ahead, convolutions, training
from async_rl.ahead import compile_others, compile_published
from async_rl.config import Config
from async_rl.kernels.convolving import Geometry, compile_loops, loops, turn_back, turn_weight
from async_rl.networks import CONVOLUTIONS, make_network
from async_rl.passes import make_passes
from async_rl.shared import bind, bind_gradients, flatten
from async_rl.types import EnvSpec, UserError

NOTHING = np.float32(-np.inf)
GEOMETRIES = [
    Geometry(height=10, width=14, channels=4, filters=16, size=4, stride=2),
    Geometry(height=6, width=6, channels=16, filters=32, size=4, stride=2),
    Geometry(height=9, width=12, channels=16, filters=48, size=4, stride=4),  # some pixels are in no window
    Geometry(height=5, width=4, channels=32, filters=16, size=3, stride=1),
    Geometry(height=3, width=29, channels=16, filters=16, size=1, stride=1),  # more than one tile
    Geometry(height=3, width=25, channels=16, filters=32, size=3, stride=1),  # the last tile is lower
    Geometry(height=4, width=4, channels=16, filters=16, size=4, stride=4),  # a single window
]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def windows(geometry: Geometry) -> list[tuple[int, int, slice, slice]]:
    """Row and column of each output, and the pixels that it sees."""
    rows, columns, _ = geometry.output_shape
    starts = itertools.product(range(rows), range(columns))
    size, stride = geometry.size, geometry.stride
    return [(y, x, slice(y * stride, y * stride + size), slice(x * stride, x * stride + size)) for y, x in starts]


def drawn(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("least", [NOTHING, np.float32(0)])
def test_outputs_are_sums_over_their_windows(
    geometry: Geometry, least: np.float32, random: np.random.Generator
) -> None:
    height, width, channels, filters, size, _ = geometry
    x, weight = drawn(random, 2, height, width, channels), drawn(random, filters, channels, size, size)
    bias, turned = drawn(random, filters), np.empty(weight.size, np.float32)
    turn_weight(weight, turned)
    out = np.full((2, *geometry.output_shape), np.nan, np.float32)  # whatever was there is not to be added to
    loops(geometry).forward(x.reshape(2, -1), turned, bias, least, out.reshape(2, -1))
    for b, (y, x_, down, across) in itertools.product(range(2), windows(geometry)):
        for f in range(filters):
            seen = x[b, down, across].transpose(2, 0, 1).astype(np.float64)
            assert near(out[b, y, x_, f], max((seen * weight[f]).sum() + bias[f], least))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_are_sums_over_all_windows(geometry: Geometry, random: np.random.Generator) -> None:
    height, width, channels, filters, size, _ = geometry
    x, weight = drawn(random, 2, height, width, channels), drawn(random, filters, channels, size, size)
    slope, turned = drawn(random, 2, *geometry.output_shape), np.empty(weight.size, np.float32)
    turn_weight(weight, turned)
    of_weight, of_x = (np.full_like(each, np.nan) for each in (weight, x))
    turned_gradient, of_bias = np.zeros_like(turned), np.zeros(filters, np.float32)
    kernels = loops(geometry)
    for b in ([0], [1]):  # what was there is added to
        kernels.add_weight_gradient(x[b].reshape(1, -1), slope[b].reshape(1, -1), turned_gradient, of_bias)
    turn_back(turned_gradient, of_weight)
    expected, expected_of_x = np.zeros(weight.shape), np.zeros(x.shape)
    for b, (y, x_, down, across), f in itertools.product(range(2), windows(geometry), range(filters)):
        expected[f] += slope[b, y, x_, f] * x[b, down, across].transpose(2, 0, 1)
        expected_of_x[b, down, across] += slope[b, y, x_, f] * weight[f].transpose(1, 2, 0)
    assert near(of_weight, expected) and near(of_bias, slope.sum(axis=(0, 1, 2)))
    if channels % 16 == 0:
        kernels.input_gradient(slope.reshape(2, -1), turned, of_x.reshape(2, -1))
        assert near(of_x, expected_of_x)


def test_what_is_not_finite_stays_so_and_where_it_is(random: np.random.Generator) -> None:
    """Else a run that diverges would not be noticed; and one screen's numbers are no other's."""
    geometry = GEOMETRIES[0]
    x, turned = drawn(random, 3, 10 * 14 * 4), drawn(random, 16 * 4 * 4 * 4)
    bias, out, before = drawn(random, 16), np.empty((2, 3, 4 * 6 * 16), np.float32)[0], None
    for value in (0.0, np.nan, np.inf):
        x[1] = value
        loops(geometry).forward(x, turned, bias, np.float32(0), out)
        if before is None:
            before = out.copy()
        assert np.array_equal(out[[0, 2]], before[[0, 2]])
        assert value == 0 or not np.isfinite(out[1]).any() or (np.isinf(value) and np.isin(out[1], [0, np.inf]).all())


@pytest.fixture
def with_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (ahead, convolutions):
        monkeypatch.setattr(user, "most_sums", lambda: 1)


def screens(height: int, width: int) -> EnvSpec:
    return EnvSpec("screens", (height, width, 4), "uint8", ("a", "b", "c"), stack=4)


def compiled(network: str, spec: EnvSpec) -> list[list[object]]:
    """What each of the loops has been compiled for."""
    geometries = CONVOLUTIONS[network].geometries(spec.observation_shape)
    return [list(kernel.signatures) for g in geometries for kernel in loops(g)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("with_loops")
@pytest.mark.parametrize("network", CONVOLUTIONS)
def test_the_fork_server_compiles_all_that_workers_need(network: str) -> None:
    """A pass there and back compiles nothing any more."""
    config, spec = Config(env="pong", network=network, precision="float32"), screens(84, 84)  # type: ignore[arg-type]
    compile_published(config)
    known = compiled(network, spec)
    module = make_network(config, spec)
    parameters = flatten(module)
    bind(module, parameters)
    gradient = torch.zeros_like(parameters)
    bind_gradients(module, gradient)
    passes = make_passes(module, parameters, gradient)
    passes.act(torch.zeros(3, 84, 84, 4, dtype=torch.uint8), 0, 1)
    passes.backward(torch.ones(1, 3, 3))
    assert gradient.any() and known == compiled(network, spec)
    assert sum(map(len, known)) == len(known) - 1  # nobody needs the gradient of the screens


@pytest.mark.usefixtures("with_loops")
def test_the_launcher_compiles_what_the_fork_server_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = screens(40, 44)
    config = Config(env="catch", network="nips", precision="float32")
    compile_published(config)
    assert not any(compiled("nips", spec))
    compile_others(config, spec)
    assert len(list(filter(None, compiled("nips", spec)))) == 5
    monkeypatch.setattr(ahead, "make_passes", Mock(side_effect=AssertionError("there is nothing to be done")))
    compile_others(Config(env="catch"), EnvSpec("vector", (5,), "float32", ("a", "b")))
    compile_others(Config(env="pong"), screens(84, 84))


def test_a_run_compiles_in_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "compile_others", Mock(side_effect=UserError("it does")))
    with pytest.raises(UserError, match="it does"):
        training.train(Config(env="catch", steps=1000), tmp_path / "run", quiet=True)


def test_geometries_are_those_of_the_network() -> None:
    compile_loops(GEOMETRIES[0])  # with no image at all
    for name, convolutions_ in CONVOLUTIONS.items():
        module = make_network(
            Config(network=name),  # type: ignore[arg-type]
            EnvSpec("screens", (84, 60, 4), "uint8", ("a", "b"), stack=4),
        )
        x, layers = torch.zeros(1, 84, 60, 4, dtype=torch.uint8), iter(module)  # type: ignore[arg-type]
        for geometry in convolutions_.geometries((84, 60, 4)):
            while not isinstance(layer := next(layers), torch.nn.Conv2d):
                x = layer(x)
            assert x.shape[1:] == (geometry.channels, geometry.height, geometry.width)
            x = layer(x)
            assert x.shape[1:] == (geometry.filters, *geometry.output_shape[:2])
