"""It learns: the whole main job on the toy, a short real run on Pong, and the trained network as an agent."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Run, make_worker, rows

from async_rl import load
from async_rl.config_file import from_toml
from async_rl.envs import make_environment
from benchmarks.toy import METHODS


def catches(run_dir: Path, games: int) -> float:
    """Share of balls that the trained agent catches, without exploration."""
    agent = load(run_dir)
    environment = make_environment(agent.config, np.random.default_rng(123))
    observation = np.zeros(agent.spec.observation_shape, agent.spec.observation_dtype)
    caught = 0
    for _ in range(games):
        environment.reset(observation)
        while not (outcome := environment.step(agent.act(observation), observation)).over:
            pass
        caught += outcome.reward > 0
    return caught / games


def test_the_main_job_learns_to_catch(start) -> None:  # type: ignore[no-untyped-def]
    run: Run = start("--config", str(ROOT / "configs" / "catch.toml"), "--workers", "2")
    assert run.wait() == 0, run.text()
    assert catches(run.run_dir, games=300) >= 0.9
    last = [float(game["score"]) for game in rows(run.run_dir / "episodes.csv")[-500:]]
    assert np.mean(last) >= 0.7  # one step in twenty is random
    first = [float(game["score"]) for game in rows(run.run_dir / "episodes.csv")[:500]]
    assert np.mean(first) < 0  # it was not born with it


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_to_catch(method: str) -> None:
    """One worker, in this process; one step in twenty is random, which costs about one ball in ten."""
    preset = from_toml(ROOT / "configs" / "catch.toml")
    steps = 20_000 if "replay" in method else 60_000
    config = dataclasses.replace(preset, workers=1, steps=steps, epsilon_anneal_steps=steps // 3, **METHODS[method])
    worker, table = make_worker(config)
    worker.run()
    games, scores = int(table["games_written"][0]), table["games"][0, :, 2]
    assert np.mean(scores[np.arange(games - 300, games) % len(scores)]) >= 0.7


def test_pong_for_real(start) -> None:  # type: ignore[no-untyped-def]
    """Two workers with two emulators each: games of plausible scores and lengths, a TD loss, the paper's network."""
    run: Run = start("--workers", "2", "--envs-per-worker", "2", "--steps", "8000", "--max-episode-frames", "2000")
    assert run.wait() == 0, run.text()
    games = rows(run.run_dir / "episodes.csv")
    assert len(games) >= 8
    assert {int(game["length"]) for game in games} <= set(range(493, 501))  # 2000 frames less 1 to 30 no-ops
    assert all(-21 <= float(game["score"]) < 10 for game in games)
    reports = rows(run.run_dir / "metrics.csv")
    assert int(reports[-1]["total_frames"]) == 4 * int(reports[-1]["total_steps"]) >= 32_000
    assert reports[-1]["dropped_gradients"] == "0"
    measured = [report for report in reports if report["td_loss"] != "nan"]  # nan: no update in that tenth of a second
    assert measured and all(float(report["td_loss"]) > 0 and float(report["gradient_norm"]) > 0 for report in measured)
    agent = load(run.run_dir / "checkpoints" / "latest.safetensors")
    assert agent.spec.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    observation = np.random.default_rng(0).integers(0, 256, size=(84, 84, 4), dtype=np.uint8)
    values = agent.q_values(observation)
    assert values.shape == (6,) and agent.act(observation) == int(values.argmax())
    with pytest.raises(ValueError, match=r"expected an observation .*84, 84, 4"):
        agent.act(observation[:, :, 0])
