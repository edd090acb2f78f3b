"""The passes by hand are those of torch's autograd."""

import itertools
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from networks import untrained
from torch import nn

from async_rl.agent import Agent
from async_rl.chain import Chain, is_chain
from async_rl.config import Config
from async_rl.layers import FEWEST_ROWS_TRANSPOSED, MOST_ROWS_IN_FLOAT32, FullyConnected
from async_rl.networks import Dueling, FlattenPixels, Pixels, StandardizedPixels, UnitPixels, make_network
from async_rl.passes import Autograd, Passes, make_passes
from async_rl.shared import bind, bind_gradients, flatten
from async_rl.types import EnvSpec

SCREENS = EnvSpec("screens", (84, 84, 4), "uint8", ("a", "b", "c"), stack=4)
VECTOR = EnvSpec("vector", (5,), "float32", ("a", "b", "c"))
NETWORKS = {
    f"{spec.name} {network} {pixels} {'dueling' if dueling else ''} {norm}": (network, spec, pixels, dueling, norm)
    for (network, spec), dueling, (pixels, norm) in itertools.product(
        (("nips", SCREENS), ("nature", SCREENS), ("mlp", VECTOR)),
        (False, True),
        (("standardized", "none"), ("unit", "none"), ("standardized", "layer")),
    )
}


@pytest.fixture(params=[True, False], ids=["own loops", "library"])
def _convolutions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32 by loops of our own, as with AVX2, and without; both run on any processor."""
    monkeypatch.setattr("async_rl.convolutions.most_sums", lambda: int(request.param))


both_convolutions = pytest.mark.usefixtures("_convolutions")


def observations(spec: EnvSpec, *shape: int) -> torch.Tensor:
    if spec.observation_dtype == "uint8":
        return torch.randint(0, 256, (*shape, *spec.observation_shape), dtype=torch.uint8)
    return torch.randn(*shape, *spec.observation_shape)


def made(
    network: nn.Module, make: Callable[[nn.Module, torch.Tensor, torch.Tensor], Passes]
) -> tuple[Passes, torch.Tensor]:
    parameters = flatten(network)
    bind(network, parameters)
    gradient = torch.full_like(parameters, torch.nan)  # whatever was there is not to be added to
    bind_gradients(network, gradient)
    return make(network, parameters, gradient), gradient


def by_autograd(
    network: nn.Module, parameters: torch.Tensor, gradient: torch.Tensor, dtype: torch.dtype = torch.float32
) -> Passes:
    return Autograd(network, gradient, dtype)


def assert_near_autograd(network: nn.Module, seen: torch.Tensor, slope: torch.Tensor, own: torch.Tensor) -> None:
    """The gradient that was made in bfloat16 is torch's in float32, nearly."""
    reference, expected = made(network, by_autograd)
    reference.kept(seen)
    reference.backward(slope)
    assert float((own - expected).norm() / expected.norm()) < 0.05


def same_as_autograd(network: nn.Module, seen: torch.Tensor, slope: torch.Tensor, acted: torch.Tensor) -> torch.Tensor:
    """The gradient that torch finds, where what was ``acted`` is what it finds, too."""
    reference, expected = made(network, by_autograd)
    torch.testing.assert_close(acted, reference.kept(seen))
    reference.backward(slope)
    return expected


@both_convolutions
@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize(("t_max", "streams"), [(1, FEWEST_ROWS_TRANSPOSED), (3, 2)])
def test_a_chain_is_autograd(case: str, t_max: int, streams: int) -> None:
    """Outputs while acting, kept outputs and all gradients; twice, because memory is used again."""
    name, spec, pixels, dueling, norm = NETWORKS[case]
    network = make_network(Config(network=name, pixels=pixels, dueling=dueling, norm=norm), spec)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):  # all of its weights start at 1, so their order would make no difference
            module.weight.data += 0.1 * torch.randn_like(module.weight)
            module.bias.data += 0.1 * torch.randn_like(module.bias)
    chain, gradient = made(network, make_passes)
    assert isinstance(chain, Chain)
    for _ in range(2):
        seen, slope = observations(spec, t_max, streams), torch.randn(t_max, streams, 3)
        acted = torch.stack([chain.act(seen[t], t, t_max) for t in range(t_max)])
        torch.testing.assert_close(chain.kept(seen), acted)
        chain(observations(spec, 2))  # keeps nothing
        chain.backward(slope)
        own = gradient.clone()
        expected = same_as_autograd(network, seen, slope, acted)
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
        chain, gradient = made(network, make_passes)
        torch.testing.assert_close(chain.forward(seen), acted)  # as from replay
        chain.backward(slope)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refreshed_passes_are_those_of_the_parameters_now(case: str, dtype: torch.dtype) -> None:
    name, spec, pixels, dueling, norm = NETWORKS[case]
    network = make_network(Config(network=name, pixels=pixels, dueling=dueling, norm=norm), spec)  # type: ignore[arg-type]
    seen, slope = observations(spec, 1, 4), torch.randn(1, 4, 3)
    results = []
    for begin_anew in (False, True):
        passes, gradient = made(network, lambda *parts: make_passes(*parts, dtype))
        if not begin_anew:
            passes(seen[0])
            for parameter in network.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
            passes.refresh()
        outputs = passes.act(seen[0], 0, 1)
        passes.backward(slope)
        results.append((outputs, gradient.clone()))
    for refreshed, anew in zip(*results, strict=True):
        assert torch.equal(refreshed, anew)


@both_convolutions
@pytest.mark.parametrize(
    ("kernel", "stride", "sides"),
    [
        (6, 2, (29, 40)),  # in blocks of 2 x 2; one row is left over
        (5, 2, (29, 40)),  # no whole number of blocks
        ((6, 4), 2, (30, 30)),
        (4, 1, (12, 11)),
    ],
)
@pytest.mark.parametrize("pixels", [UnitPixels, StandardizedPixels])
@pytest.mark.parametrize("t_max", [1, 2])
@pytest.mark.parametrize("filters", [3, 16])
def test_first_convolutions_of_any_kind(
    kernel: int | tuple[int, int], stride: int, sides: tuple[int, int], pixels: type[Pixels], t_max: int, filters: int
) -> None:
    first, second = nn.Conv2d(4, filters, kernel, stride), nn.Conv2d(filters, 16, 4, 2)
    features = nn.Sequential(pixels(), first, nn.ReLU(), second, nn.ReLU(), FlattenPixels())
    spec = EnvSpec("screens", (*sides, 4), "uint8", ("a", "b", "c"), stack=4)
    seen, slope = observations(spec, t_max, 3), torch.randn(t_max, 3, 3)
    network = nn.Sequential(*features, nn.Linear(features(seen[0]).shape[1], 3))
    chain, gradient = made(network, make_passes)
    acted = torch.stack([chain.act(seen[t], t, t_max) for t in range(t_max)])
    chain.backward(slope)
    own = gradient.clone()
    assert isinstance(chain, Chain)
    torch.testing.assert_close(own, same_as_autograd(network, seen, slope, acted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["nips", "mlp"])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("streams", [1, 8, MOST_ROWS_IN_FLOAT32])
def test_bfloat16_is_float32_with_less_precision(network: str, norm: str, by_hand: bool, streams: int) -> None:
    spec = SCREENS if network == "nips" else VECTOR
    module = make_network(Config(network=network, norm=norm), spec)  # type: ignore[arg-type]
    seen, slope = observations(spec, 2, streams), torch.randn(2, streams, 3)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        make = make_passes if by_hand else by_autograd
        passes, gradient = made(module, lambda *parts, make=make, dtype=dtype: make(*parts, dtype))
        for t in range(2):
            passes.act(seen[t], t, 2)
        outputs = passes.kept(seen)
        passes.backward(slope)
        assert outputs.dtype == gradient.dtype == torch.float32
        if by_hand:  # the last layer is exact
            assert not torch.equal(outputs, outputs.bfloat16().float())
        results.append((outputs, gradient.clone()))
    for exact, rounded in zip(*results, strict=True):
        assert 0 < float((exact - rounded).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 3), (64, 5), (2592, 256)])
def test_a_single_row_in_bfloat16_is_that_row_of_many(inputs: int, outputs: int) -> None:
    """In float32 inside, as torch has it, so to the last bit but where a sum in another order rounds otherwise."""
    module = nn.Linear(inputs, outputs)
    rounded = {parameter: parameter.detach().bfloat16() for parameter in module.parameters()}
    layer, rows = FullyConnected(module, rounded), torch.randn(4, inputs).bfloat16()
    of_many = layer.forward(rows, None)
    of_each = torch.cat([layer.forward(row[None], None) for row in rows])
    assert of_each.dtype == of_many.dtype == torch.bfloat16
    exact = rows.double() @ rounded[module.weight].double().t() + rounded[module.bias].double()
    torch.testing.assert_close(of_each.double(), exact, rtol=2**-8, atol=1e-5)
    assert float((of_each == of_many).float().mean()) > 0.99
    apart = torch.randn(inputs, 2).bfloat16().t()[:1]  # not one number beside the other
    assert torch.equal(layer.forward(apart, None), layer.forward(apart.contiguous(), None))


def test_layers_in_any_order_in_bfloat16() -> None:
    """Without a rectifier between them, one of them first, one twice."""
    image, spec = nn.Conv2d(4, 3, 5, 2), EnvSpec("screens", (16, 16, 4), "uint8", ("a", "b", "c"), stack=4)
    rectified = nn.Linear(5, 8)
    rectified.bias.data = torch.tensor([9.0, -9.0] * 4)  # the rectifier cannot decide otherwise for a rounded sum
    cases = (
        (VECTOR, [nn.Flatten(), nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)]),
        (VECTOR, [nn.Flatten(), nn.ReLU(), rectified, nn.ReLU(), nn.ReLU(), nn.Linear(8, 3)]),
        (spec, [UnitPixels(), nn.ReLU(), image, nn.Conv2d(3, 2, 3), FlattenPixels(), nn.Linear(32, 3)]),
    )
    for seen_by, modules in cases:
        network = nn.Sequential(*modules)
        for streams in (4, MOST_ROWS_IN_FLOAT32):
            seen, slope = observations(seen_by, 2, streams), torch.randn(2, streams, 3)
            before = seen.clone()
            passes, gradient = made(network, lambda *parts: make_passes(*parts, torch.bfloat16))
            acted = torch.stack([passes.act(seen[t], t, 2) for t in range(2)])
            passes.backward(slope)
            own = gradient.clone()
            assert isinstance(passes, Chain) and torch.equal(seen, before)
            reference, expected = made(network, by_autograd)
            exact = reference.kept(seen)
            reference.backward(slope)
            assert float((acted - exact).norm() / exact.norm()) < 0.02
            assert float((own - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize("after", [nn.Flatten, nn.ReLU])
@pytest.mark.parametrize("convolutions", [False, True])
def test_the_last_layer_that_learns_is_exact_whatever_follows_it(after: type[nn.Module], convolutions: bool) -> None:
    spec, layers = VECTOR, [nn.Linear(5, 8), nn.Linear(8, 3)]
    if convolutions:
        spec = EnvSpec("screens", (8, 8, 4), "uint8", ("a", "b", "c"), stack=4)
        layers = [UnitPixels(), nn.Conv2d(4, 2, 3), nn.Conv2d(2, 3, 6), nn.Flatten()]
    last = next(layer for layer in reversed(layers) if hasattr(layer, "bias"))
    last.bias.data = torch.tensor([9.0, -9.0, 9.0])  # the rectifier cannot decide otherwise for a rounded sum
    network = nn.Sequential(*layers, after())
    seen, slope = observations(spec, 1, 16), torch.randn(1, 16, 3)
    passes, gradient = made(network, lambda *parts: make_passes(*parts, torch.bfloat16))
    assert isinstance(passes, Chain)
    outputs = passes.act(seen[0], 0, 1)
    assert not torch.equal(outputs, outputs.bfloat16().float())
    passes.backward(slope)
    assert_near_autograd(network, seen, slope, gradient.clone())


def test_normalization_hands_on_whatever_comes_after_it_in_bfloat16() -> None:
    """The last linear layer computes in float32; nothing need be between the two, or after."""
    screens = EnvSpec("screens", (8, 8, 4), "uint8", ("a", "b", "c"), stack=4)
    for spec, modules in (
        (VECTOR, [nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)]),
        (VECTOR, [nn.Linear(5, 8), nn.Linear(8, 3), nn.LayerNorm(3)]),
        (screens, [UnitPixels(), nn.Conv2d(4, 2, 3), nn.LayerNorm([2, 6, 6]), nn.Flatten(), nn.Linear(72, 3)]),
    ):
        network = nn.Sequential(*modules)
        seen, slope = observations(spec, 1, 16), torch.randn(1, 16, 3)
        passes, gradient = made(network, lambda *parts: make_passes(*parts, torch.bfloat16))
        assert isinstance(passes, Chain)
        passes.act(seen[0], 0, 1)
        passes.backward(slope)
        assert_near_autograd(network, seen, slope, gradient.clone())


def test_a_pass_that_keeps_nothing_changes_nothing_of_the_one_that_was_kept() -> None:
    """With one filter an image lies in memory in both orders at once; the layers behind it may take either."""
    norm = nn.LayerNorm([8, 6, 6])
    norm.weight.data += 0.5 * torch.randn_like(norm.weight)
    network = nn.Sequential(
        UnitPixels(), nn.Conv2d(4, 1, 1), nn.ReLU(), nn.Conv2d(1, 8, 3), norm, nn.ReLU(), FlattenPixels(),
        nn.Linear(288, 3),
    )  # fmt: skip
    screens = EnvSpec("screens", (8, 8, 4), "uint8", ("a", "b", "c"), stack=4)
    seen, slope = observations(screens, 2, 4), torch.randn(2, 4, 3)
    chain, gradient = made(network, make_passes)
    assert isinstance(chain, Chain)
    acted = torch.stack([chain.act(seen[t], t, 2) for t in range(2)])
    torch.testing.assert_close(chain(seen[0]), acted[0])
    chain.backward(slope)
    own = gradient.clone()
    torch.testing.assert_close(own, same_as_autograd(network, seen, slope, acted), rtol=1e-4, atol=1e-4)


def test_heads_of_different_widths_with_nothing_that_learns_before_them() -> None:
    value = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
    advantage = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 3))
    network = nn.Sequential(nn.Flatten(), Dueling(value, advantage))
    seen, slope = observations(VECTOR, 1, 4), torch.randn(1, 4, 3)
    chain, gradient = made(network, make_passes)
    assert isinstance(chain, Chain)
    acted = chain.act(seen[0], 0, 1)[None]
    chain.backward(slope)
    own = gradient.clone()
    torch.testing.assert_close(own, same_as_autograd(network, seen, slope, acted), rtol=1e-4, atol=1e-4)


def test_a_layer_without_parameters_may_stand_twice_and_linear_ones_on_many_axes() -> None:
    relu = nn.ReLU()
    rows = EnvSpec("rows", (4, 5), "float32", ("a", "b", "c"))
    norm = nn.LayerNorm(8)
    norm.weight.data += 0.1 * torch.randn(8)
    for spec, modules in (
        (VECTOR, [nn.Linear(5, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3)]),
        (rows, [nn.Linear(5, 8), norm, relu, nn.Flatten(), nn.Linear(32, 3)]),
    ):
        network = nn.Sequential(*modules)
        for streams in (1, 4):
            chain, gradient = made(network, make_passes)
            assert isinstance(chain, Chain)
            seen, slope = observations(spec, 2, streams), torch.randn(2, streams, 3)
            acted = torch.stack([chain.act(seen[t], t, 2) for t in range(2)])
            chain.backward(slope)
            own = gradient.clone()
            torch.testing.assert_close(own, same_as_autograd(network, seen, slope, acted), rtol=1e-4, atol=1e-4)
            rounded, _ = made(network, lambda *parts: make_passes(*parts, torch.bfloat16))
            assert float((rounded(seen[0]) - acted[0]).norm() / acted[0].norm()) < 0.03


def test_only_known_layers_are_taken_and_all_others_learn_too() -> None:
    class Own(nn.Linear):
        pass

    class Brighter(UnitPixels):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(observation)

    known = [nn.Flatten(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)]
    assert is_chain(nn.Sequential(*known))
    twice, hooked, frozen = nn.Linear(5, 5), nn.Linear(5, 3), nn.Linear(5, 5)
    shared, clipped = nn.Linear(5, 5), nn.Linear(5, 3)
    clipped.weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    hooked.register_forward_hook(lambda module, inputs, output: output.tanh())
    frozen.requires_grad_(False)
    unknown = (
        nn.Sequential(Own(5, 3)),
        nn.Sequential(Brighter(), FlattenPixels(), nn.Linear(5, 3)),
        nn.Sequential(twice, twice, nn.Linear(5, 3)),
        nn.Sequential(hooked),
        nn.Sequential(frozen, nn.Linear(5, 3)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))),
        nn.Sequential(nn.Linear(5, 3, bias=False)),
        nn.Sequential(*known, nn.Tanh()),
        nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(9, 3)),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.LayerNorm(3), nn.Flatten(), nn.Linear(9, 3)),  # not over all axes
        nn.Linear(5, 3),
        nn.Sequential(nn.Flatten(), Dueling(*(nn.Sequential(shared, nn.ReLU(), nn.Linear(5, n)) for n in (1, 3)))),
        nn.Sequential(clipped),
    )
    for network in unknown:
        assert not is_chain(network), network
    passes, gradient = made(nn.Sequential(*known, nn.Tanh()), make_passes)
    assert isinstance(passes, Autograd)
    seen = torch.randn(2, 4, 5)
    assert not passes.act(seen[0], 0, 2).requires_grad
    assert passes.kept(seen).shape == (2, 4, 3)
    passes.backward(torch.ones(2, 4, 3))
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_rectifiers_work_in_place_on_memory_of_the_network_alone() -> None:
    """Not on observations, and not on the gradient that they are given."""
    rectifier_first = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(5, 3), nn.ReLU())
    heads = [nn.Sequential(nn.ReLU(), nn.Linear(5, outputs), nn.ReLU()) for outputs in (1, 3)]
    for network in (rectifier_first, nn.Sequential(nn.Linear(5, 5), nn.ReLU(), Dueling(*heads))):
        seen, slope = observations(VECTOR, 1, 8), torch.randn(1, 8, 3)
        chain, gradient = made(network, make_passes)
        assert isinstance(chain, Chain)
        before = seen.clone(), slope.clone()
        acted = chain.act(seen[0], 0, 1)[None]
        chain(seen[0])
        chain.backward(slope)
        assert torch.equal(seen, before[0]) and torch.equal(slope, before[1])
        own = gradient.clone()
        torch.testing.assert_close(own, same_as_autograd(network, seen, slope, acted), rtol=1e-4, atol=1e-4)


class Counted(StandardizedPixels):
    """Notes how many screens it is given at a time."""

    portions: ClassVar[list[int]] = []

    def write(self, observation: np.ndarray, out: np.ndarray) -> None:
        self.portions.append(len(observation))
        super().write(observation, out)


def small_network() -> nn.Module:
    return nn.Sequential(Counted(), nn.Conv2d(4, 16, 4, 2), nn.ReLU(), FlattenPixels(), nn.Linear(400, 3))


class Pair:
    """Passes of a network that acts, and of one beside it that is shown the same screens."""

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype
        self._network, target = small_network(), small_network()
        self.passes, self._gradient = made(self._network, lambda *parts: make_passes(*parts, dtype))
        vector = flatten(target)
        bind(target.requires_grad_(False), vector)
        self.beside = make_passes(target, vector, torch.empty(0), dtype, self.passes)

    def act(self, seen: torch.Tensor, unseen: list[int] | None) -> int:
        """Outputs and gradient are those of passes that know nothing; returns how many screens were made."""
        slope = torch.randn(1, len(seen), 3)
        Counted.portions.clear()
        acted = self.passes.act(seen, 0, 1, unseen)
        count = sum(Counted.portions)
        self.passes.backward(slope)
        own = self._gradient.clone()
        alone, expected = made(self._network, lambda *parts: make_passes(*parts, self._dtype))
        assert torch.equal(acted, alone.act(seen, 0, 1))
        alone.backward(slope)
        assert torch.equal(own, expected)
        bind_gradients(self._network, self._gradient)
        return count


@both_convolutions
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_screens_that_the_network_beside_was_shown_are_not_made_again(dtype: torch.dtype) -> None:
    """But for those that have changed since, or where anything else was shown last."""
    pair, spec = Pair(dtype), EnvSpec("screens", (12, 12, 4), "uint8", ("a", "b", "c"), stack=4)
    seen, other = observations(spec, 4), observations(spec, 4)
    assert pair.act(seen, []) == 4  # nothing was shown before
    for unseen in ([], [2], [0, 3], [0, 1, 2, 3]):
        pair.beside(seen)
        seen[unseen] = observations(spec, len(unseen))
        assert pair.act(seen, unseen) == len(unseen)
    assert pair.act(seen, []) == 4  # it was shown before the last pass only
    pair.beside(seen)
    pair.passes(other)
    assert pair.act(seen, []) == 4
    pair.beside(seen)
    seen[:] = observations(spec, 4)
    assert pair.act(seen, None) == 4
    pair.beside(seen[:2])
    assert pair.act(seen, []) == 4


@pytest.mark.parametrize("t_max", [1, 2])
def test_screens_that_are_too_many_to_keep_are_made_a_few_at_a_time(
    t_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the output, and again for the gradient; only where nobody will need them a few do it, too."""
    monkeypatch.setattr("async_rl.convolutions.most_sums", lambda: 1)
    monkeypatch.setattr("async_rl.convolutions.AT_A_TIME", 4)
    network, spec = small_network(), EnvSpec("screens", (12, 12, 4), "uint8", ("a", "b", "c"), stack=4)
    chain, gradient = made(network, make_passes)
    seen, slope = observations(spec, t_max, 5), torch.randn(t_max, 5, 3)
    for most_kept, made_again in ((10 * 4 * 12 * 12 * 4, False), (5 * 4 * 12 * 12 * 4 - 1, True)):
        monkeypatch.setattr("async_rl.convolutions.MOST_KEPT", most_kept)
        Counted.portions.clear()
        acted = torch.stack([chain.act(seen[t], t, t_max) for t in range(t_max)])
        assert Counted.portions == ([4, 1] if made_again else [5]) * t_max
        Counted.portions.clear()
        torch.testing.assert_close(chain(seen[0]), acted[0])
        assert Counted.portions == [4, 1]
        chain.backward(slope)
        assert Counted.portions[2:] == (([4, 1] if t_max == 1 else [4, 4, 2]) if made_again else [])
        expected = same_as_autograd(network, seen, slope, acted)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
        bind_gradients(network, gradient)


def test_what_a_network_writes_into_its_input_is_gone() -> None:
    class InPlace(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.mul_(0.5))

    passes, _ = made(InPlace(5, 3), make_passes)
    seen = torch.randn(2, 4, 5)
    before = seen.clone()
    passes.act(seen[0], 0, 2)
    passes(seen[1])
    passes.kept(seen)
    assert torch.equal(seen, before)
    spec = EnvSpec("vector", (5,), "float32", ("a", "b", "c"))
    network = InPlace(5, 3).requires_grad_(False)
    agent = Agent(untrained(Config(env="catch")))
    agent.spec, agent.network = spec, network  # type: ignore[misc]
    observation = seen[0, 0].numpy()
    assert np.array_equal(agent.q_values(observation), agent.q_values(observation)) and torch.equal(seen, before)
