"""What a network has learnt, in two pictures: its filters, and a map of its last hidden layer."""

import io
from pathlib import Path

import cv2
import numpy as np

from async_rl import storage
from async_rl.agent import Agent
from async_rl.naming import game_title, method_of
from async_rl.types import UserError
from async_rl.viewing.anatomy import Convolution, convolutions, first_weights, last_hidden, peaks
from async_rl.viewing.embedding import pca, tsne
from async_rl.viewing.features import understand
from async_rl.viewing.features_picture import Sheet, compose, filter_cell, units_sheet
from async_rl.viewing.map_picture import draw_map, require_matplotlib
from async_rl.viewing.play import Tell
from async_rl.viewing.sampling import States, sample


def map_path(output: Path) -> Path:
    """Where the map goes: ``features.png`` -> ``features_map.png``."""
    return output.with_name(f"{output.stem}_map{output.suffix}")


def check_output(output: Path) -> None:
    """Say at once what would go wrong after a minute.

    Raises:
        UserError: no PNG file, a folder that cannot be written, or no matplotlib.
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"--output must end in .png, got {output.name}.")
    require_matplotlib()
    storage.require_writable(output)


def explain(agent: Agent, output: Path, count: int, method: str, seed: int, tell: Tell) -> list[Path]:
    """Play, look into the network and write the pictures; their paths.

    Raises:
        UserError: they cannot be written, or scikit-learn is missing for the method "tsne".
    """
    states = sample(agent, count, seed, tell)
    written = []
    features = _features(agent, states, tell)
    if features is not None:
        encoded = cv2.imencode(".png", np.ascontiguousarray(features[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        storage.write_result(output, encoded.tobytes())
        written.append(output)
    tell("laying out the map", 0, 1)
    hidden = last_hidden(agent.network, states.observations)
    points = tsne(hidden, seed) if method == "tsne" else pca(hidden)
    name = {"tsne": "t-SNE", "pca": "principal components"}[method]
    games = len(np.unique(states.games))
    of = "1 game" if games == 1 else f"{games:,} games"
    what = f"last hidden layer ({hidden.shape[1]} units), {len(hidden):,} states of {of}, {name}"
    memory = io.BytesIO()
    draw_map(memory, f"{game_title(agent.spec.name)}: {what}", points, states)
    storage.write_result(map_path(output), memory.getvalue())
    return [*written, map_path(output)]


def _features(agent: Agent, states: States, tell: Tell) -> np.ndarray | None:
    """The picture of the filters or, without convolutions, of the first layer's weights; None without either."""
    found = convolutions(agent.network, states.observations[0])
    title = f"{game_title(agent.spec.name)}: what the network looks for"
    trained = (
        f"{method_of(agent.config)}; trained for {agent.total_steps:,} steps; {len(states.values):,} states of play"
    )
    if not found:
        weights = first_weights(agent.network, states.observations[0])
        return None if weights is None else compose(title, trained, [units_sheet(weights, agent.spec)])
    sheets = []
    for number, (layer, excited) in enumerate(
        zip(found, peaks(agent.network, found, states.observations), strict=True)
    ):
        tell("looking into layers", number, len(found))
        filters = understand(agent.network, layer, excited, states)
        cells = [filter_cell(shown, layer.field.size, agent.spec.stack) for shown in filters]
        sheets.append(Sheet(_heading(number, layer), _EXPLANATION, cells))
    return compose(title, trained, sheets)


_EXPLANATION = (
    "Weights for each input channel (orange: positive, blue: negative); below, the nine patches of play that excite "
    "the filter most, and what in them did, by guided backpropagation."
)


def _heading(number: int, layer: Convolution) -> str:
    conv, (rows, columns) = layer.layer, layer.field.size
    kernel = "x".join(str(size) for size in conv.kernel_size)
    return (
        f"convolution {number + 1}: {conv.out_channels} filters {kernel}, stride {conv.stride[0]}; "
        f"each unit sees {rows}x{columns} pixels"
    )
