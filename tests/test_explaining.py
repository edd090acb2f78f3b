"""What is said of a network's insides is so: against hand computations and brute force."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import python_m
from networks import untrained
from torch import nn
from torch.nn import functional

from async_rl import Config, load
from async_rl.agent import Agent
from async_rl.envs import describe
from async_rl.networks import make_network
from async_rl.types import EnvSpec, UserError

pytest.importorskip("PIL", reason="pictures of networks need the extra 'explain'")
pytest.importorskip("matplotlib", reason="pictures of networks need the extra 'explain'")

from async_rl.viewing.anatomy import Field, convolutions, first_weights, last_hidden, peaks
from async_rl.viewing.embedding import pca, spread, tsne
from async_rl.viewing.explaining import check_output, explain, map_path
from async_rl.viewing.features import crop, understand
from async_rl.viewing.projection import project
from async_rl.viewing.sampling import States, sample, strongest

SCREENS = EnvSpec("screens", (84, 84, 4), "uint8", ("a", "b", "c"), stack=4)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


class Own(nn.Module):
    """A user's network: functional rectifiers, padding, a pooling layer."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(2, 3, 3, stride=2)
        self.head = nn.Linear(3 * 3 * 3, outputs)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x = observation.permute(0, 3, 1, 2).float() / 255
        x = self.pool(functional.relu(self.first(x)))
        return self.head(functional.relu(self.second(x)).flatten(1))


def states_of(observations: np.ndarray, games: list[int] | None = None) -> States:
    count = len(observations)
    return States(
        observations, np.arange(count) / count, np.array(games or range(count)), np.arange(count), [b""] * count
    )


def edge_network() -> nn.Module:
    """One filter that is excited where the left column is dark and the right one bright."""
    network = Own().requires_grad_(False)
    network.first.weight.zero_()
    network.first.bias.zero_()
    network.first.weight[0, 0] = torch.tensor([[-1.0, 0.0, 1.0]] * 3)
    return network


def test_an_edge_detector_projects_back_to_its_edge() -> None:
    observation = np.zeros((1, 16, 16, 1), np.uint8)
    observation[0, :, 8:] = 255
    network = edge_network()
    first = convolutions(network, observation[0])[0]
    (found,) = peaks(network, [first], observation)
    assert found.activation[0] == pytest.approx([3, 0]) and found.place[0, 0].tolist() == [1, 7]
    projected, seen = project(network, first, observation, 0, found.place[:, 0])
    expected = np.zeros((1, 1, 16, 16), np.float32)
    expected[0, 0, 0:3, 6:9] = [-1, 0, 1]
    assert np.array_equal(projected.numpy(), expected)
    assert np.array_equal(seen.numpy()[0, 0], observation[0, :, :, 0] / np.float32(255))
    silent, _ = project(network, first, observation[:, :, ::-1].copy(), 1, found.place[:, 1])
    assert not silent.any()


def test_guided_backpropagation_by_hand_through_two_layers() -> None:
    """1x1 filters: what is negative on the way back is stopped at the rectifier, and what was silent, too."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.LayerNorm([3, 2, 2]), nn.ReLU(), nn.Conv2d(3, 1, 1), nn.ReLU()
    ).requires_grad_(False)
    network[0].weight[:, 0, 0, 0] = torch.tensor([2.0, -1.0, 3.0])
    network[3].weight[0, :, 0, 0] = torch.tensor([1.0, 1.0, -1.0])
    network[3].bias.fill_(5)
    x = torch.tensor([[[[4.0, 1.0], [0.5, 2.0]]]])
    inner = network[1](network[0](x))[0, :, 0, 0]
    deviation = float(torch.sqrt(network[0](x).var(unbiased=False) + 1e-5))
    back = sum(2.0 if filter_number == 0 else -1.0 for filter_number in (0, 1) if inner[filter_number] > 0)
    wrapped = convolutions(network, x[0].numpy())
    assert [layer.output for layer in wrapped] == [network[2], network[4]]
    projected, _ = project(network, wrapped[1], x.numpy(), 0, np.array([[0, 0]]))
    assert float(projected[0, 0, 0, 0]) == pytest.approx(back / deviation, rel=1e-5)
    assert projected.count_nonzero() == 1


def test_fields_of_the_published_networks_and_of_a_users_own() -> None:
    observation = np.zeros((84, 84, 4), np.uint8)
    for name, norm, expected in (("nips", "none", [8, 20]), ("nature", "layer", [8, 20, 36])):
        network = make_network(Config(network=name, norm=norm), SCREENS).requires_grad_(False)
        found = convolutions(network, observation)
        assert [layer.field.size for layer in found] == [(size, size) for size in expected]
        assert all(isinstance(layer.output, nn.ReLU) for layer in found)
    own = convolutions(Own().requires_grad_(False), np.zeros((16, 16, 1), np.uint8))
    assert own[0].field == Field((3, 3), (1, 1), (-1, -1)) and own[1].field == Field((8, 8), (4, 4), (-1, -1))
    picture = np.arange(256, dtype=np.float32).reshape(16, 16)
    assert np.isnan(crop(picture, own[0].field, np.array([0, 0]))[0]).all()
    assert crop(picture, own[0].field, np.array([0, 0]))[1:, 1:].tolist() == picture[:2, :2].tolist()


def test_a_rectifier_that_several_layers_share_is_none_of_theirs(random: np.random.Generator) -> None:
    class Sharing(Own):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.hidden = nn.ReLU(), nn.Linear(27, 27)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            x = self.relu(self.first(observation.permute(0, 3, 1, 2).float() / 255))
            x = self.relu(self.second(self.pool(x))).flatten(1)
            return self.head(self.relu(self.hidden(x)))

    network = Sharing().requires_grad_(False)
    observations = random.integers(0, 256, (5, 16, 16, 1), np.uint8)
    found = convolutions(network, observations[0])
    assert [layer.output for layer in found] == [network.first, network.second]
    assert [one.activation.shape for one in peaks(network, found, observations)] == [(5, 2), (5, 3)]


def test_a_convolution_that_is_used_twice_has_no_field(random: np.random.Generator) -> None:
    class Twice(Own):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            x = self.again(self.again(self.first(observation.permute(0, 3, 1, 2).float() / 255)))
            return self.head(self.second(self.pool(x)).flatten(1))

    network = Twice().requires_grad_(False)
    observations = random.integers(0, 256, (5, 16, 16, 1), np.uint8)
    found = convolutions(network, observations[0])
    assert [layer.layer for layer in found] == [network.first, network.second]
    assert found[1].field == Field((12, 12), (4, 4), (-3, -3)) and len(peaks(network, found, observations)) == 2


def test_a_first_layer_that_sees_the_channels_last(random: np.random.Generator) -> None:
    class Last(Own):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))  # of the network itself, whose input are whole numbers
            self.norm = nn.LayerNorm(2)
            self.first = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            x = self.norm(self.scale * observation.float() / 255).permute(0, 3, 1, 2)
            return self.head(functional.relu(self.second(self.pool(self.first(x)))).flatten(1))

    network = Last().requires_grad_(False)
    observations = random.integers(0, 256, (4, 16, 20, 2), np.uint8)[:, :, 2:18]
    states = states_of(observations)
    found = convolutions(network, observations[0])
    excited = peaks(network, found, observations)
    filters = understand(network, found[0], excited[0], states)
    assert all(one.patches.shape == one.projections.shape == (len(one.states), 3, 3) for one in filters)
    projected, seen = project(network, found[0], observations[:1], 0, np.array([[10, 4]]))
    assert projected.shape == seen.shape == (1, 2, 16, 16)
    rows, columns = projected[0].abs().sum(dim=0).nonzero().T
    assert set(rows.tolist()) <= {9, 10, 11} and set(columns.tolist()) <= {3, 4, 5}


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_unit_depends_on_its_field_alone(norm: str, random: np.random.Generator) -> None:
    network = make_network(Config(network="nature", norm=norm), SCREENS).requires_grad_(False)
    observations = random.integers(0, 256, (2, 84, 84, 4), np.uint8)
    layer = convolutions(network, observations[0])[1]
    (found,) = peaks(network, [layer], observations)
    projected = project(network, layer, observations, 5, found.place[:, 5])[0].abs().sum(dim=1).numpy()
    for picture, (row, column) in zip(projected, found.place[:, 5], strict=True):
        inside = picture[8 * row : 8 * row + 20, 8 * column : 8 * column + 20]
        assert inside.any() and inside.sum() == pytest.approx(picture.sum())


def test_top_patches_have_the_highest_activation(random: np.random.Generator) -> None:
    torch.manual_seed(1)
    network = Own().requires_grad_(False)
    observations = random.integers(0, 256, (40, 16, 16, 1), np.uint8)
    states = states_of(observations)
    layers = convolutions(network, observations[0])
    for layer, found in zip(layers, peaks(network, layers, observations), strict=True):
        x = torch.from_numpy(observations).permute(0, 3, 1, 2).float() / 255
        maps = network.first(x)
        maps = maps if layer is layers[0] else network.second(network.pool(functional.relu(maps)))
        for shown in understand(network, layer, found, states):
            best = maps[:, shown.number].flatten(1).max(dim=1).values
            positive = int((best > 0).sum())
            assert shown.states.tolist() == torch.argsort(-best, stable=True)[: min(9, positive)].tolist()
            for state, patch in zip(shown.states, shown.patches, strict=True):
                row, column = divmod(int(maps[state, shown.number].argmax()), maps.shape[3])
                whole = x[state, 0].numpy()
                whole = (whole - whole.min()) / (whole.max() - whole.min())
                assert np.allclose(patch, crop(whole, layer.field, np.array([row, column])), equal_nan=True)


def test_examples_of_one_game_lie_apart() -> None:
    states = states_of(np.zeros((6, 1)), games=[0, 0, 0, 0, 1, 1])
    assert strongest(np.array([5.0, 6, 4, 3, 2, 0]), states, 9, apart=2).tolist() == [1, 3, 4]
    assert strongest(np.array([5.0, 6, 4, 3, 2, 0]), states, 2, apart=2).tolist() == [1, 3]
    assert strongest(np.zeros(6), states, 9, apart=1).tolist() == []


def test_principal_components_are_those_of_the_singular_values(random: np.random.Generator) -> None:
    points = random.normal(size=(50, 5)) * [5, 3, 1, 0.5, 0.1] + 7
    centred = points - points.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    found = pca(points)
    assert np.abs(found) == pytest.approx(np.abs(u[:, :2] * s[:2]), abs=1e-8)
    assert np.array_equal(found, pca(points)) and pca(points[:, :1]).shape == (50, 2)
    assert sorted(spread(np.array([[0.0, 0], [1, 1], [1, 1.01], [0.01, 0], [0, 1]]), 3)) in ([0, 1, 4], [0, 2, 4])


def test_tsne_repeats_and_keeps_neighbours(random: np.random.Generator) -> None:
    pytest.importorskip("sklearn", reason="t-SNE needs the extra 'explain'")
    points = np.concatenate([random.normal(centre, 0.1, (15, 8)) for centre in (0, 5)])
    found = tsne(points, seed=3)
    assert np.array_equal(found, tsne(points, seed=3 + 2**32))  # more than scikit-learn takes
    ends = found[:15].mean(axis=0), found[15:].mean(axis=0)
    assert all(np.linalg.norm(p - ends[n >= 15]) < np.linalg.norm(p - ends[n < 15]) for n, p in enumerate(found))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_tsne_of_states_that_are_all_the_same(count: int) -> None:
    """As of a network whose hidden units are all silent; scikit-learn divides by 0 then."""
    pytest.importorskip("sklearn", reason="t-SNE needs the extra 'explain'")
    found = tsne(np.full((count, 60), 3.0, np.float32), seed=0)
    assert found.shape == (count, 2) and not found.any()


def test_tsne_of_a_single_hidden_unit_is_that_unit() -> None:
    pytest.importorskip("sklearn", reason="t-SNE needs the extra 'explain'")
    points = np.arange(5, dtype=np.float32)[:, None]
    assert np.array_equal(tsne(points, seed=0), np.stack((points[:, 0] - 2, np.zeros(5)), axis=1))


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match=r"pip install .\.\[explain\].*--method pca"):
        tsne(np.zeros((4, 2)), 0)


@pytest.mark.parametrize(
    "settings",
    [{"dueling": True}, {"algorithm": "a3c"}, {"norm": "layer"}],
    ids=lambda settings: "-".join(map(str, settings)),
)
def test_every_kind_of_network_can_be_explained(tmp_path: Path, settings: dict) -> None:
    config = Config(env="pong", **settings)
    agent = Agent(untrained(config))
    written = explain(agent, tmp_path / "features.png", 12, "pca", 0, lambda *_: None)
    assert written == [tmp_path / "features.png", map_path(tmp_path / "features.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    hidden = last_hidden(agent.network, sample(agent, 3, 0, lambda *_: None).observations)
    assert hidden.shape == (3, 256) and (hidden >= 0).all()


def test_filters_that_do_not_come_after_the_first_layer_are_one_sentence(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.convolution, self.head = nn.Linear(1, 6), nn.Conv2d(4, 2, 8, 4), nn.Linear(2, 6)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            bias = self.bias(torch.ones(len(observation), 1))
            seen = torch.relu(self.convolution(observation.permute(0, 3, 1, 2).float()))
            return bias + self.head(seen.mean((2, 3)))

    agent = Agent(untrained(Config(env="pong")))
    agent.network = Branches().requires_grad_(False)
    with pytest.raises(UserError, match="cannot be projected back"):
        explain(agent, tmp_path / "features.png", 12, "pca", 0, lambda *_: None)


def test_explain_works_on_a_run_and_repeats(tmp_path: Path, toy_run: Path) -> None:
    output = tmp_path / "a.png"
    small = ("--states", "60", "--method", "pca")
    done = python_m("launch.explain", toy_run, "--output", output, *small, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(output), str(map_path(output))]
    again = explain(load(toy_run), tmp_path / "b.png", 60, "pca", 0, lambda *_: None)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in (output, map_path(output))]
    failed = python_m("launch.explain", toy_run, "--output", "a.pdf", timeout=200)
    assert failed.returncode == 2 and failed.stderr == "error: --output must end in .png, got a.pdf.\n"
    with pytest.raises(UserError, match=f"^cannot write {output}/map.png: "):
        check_output(output / "map.png")


def test_first_weights_belong_to_the_observation() -> None:
    config = Config(env="catch")
    network = make_network(config, describe(config)).requires_grad_(False)
    weights = first_weights(network, np.zeros((10, 5, 1), np.uint8))
    assert weights is not None and weights.shape == (64, 50)
    assert first_weights(Own().requires_grad_(False), np.zeros((16, 16, 1), np.uint8)) is None
