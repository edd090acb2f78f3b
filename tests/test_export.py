"""The trained network outside of its run: exported, as a library's agent, as a Gymnasium environment, on a card."""

import dataclasses
import importlib
import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import safetensors
import torch
from conftest import InProcess
from gymnasium.utils.env_checker import check_env
from networks import light_run, untrained

from async_rl import AsGymnasium, Config, UserError, load, run_directory
from async_rl.agent import Agent
from async_rl.build import make_table
from async_rl.card import model_card, read_curve
from async_rl.checkpoint import BEST, Checkpoint, Progress, restore
from async_rl.evaluation import Evaluation, Protocol
from async_rl.export import read_network, write_network
from async_rl.traced import agreement, random_observations, write_torchscript
from launch import card, export

CONFIGS = {
    "paper": Config(),
    "layer norm, duelling": Config(norm="layer", dueling=True, network="nature"),
    "a3c, unit pixels": Config(algorithm="a3c", pixels="unit"),
    "vector": Config(env="CartPole-v1", norm="layer"),
    "toy": Config(env="catch", dueling=True),
    "the user's own": Config(env="catch", network="tests.networks:own_network"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_an_exported_network_computes_the_same(config: Config, tmp_path: Path) -> None:
    saved = untrained(config)
    network, observation = saved.make(), random_observations(saved.spec, 5, seed=9)
    write_network(saved, tmp_path / "agent.safetensors")
    again = read_network(tmp_path / "agent.safetensors", trust_code=True)
    assert (again.config, again.spec, again.layout) == (config, saved.spec, saved.layout)
    assert (again.total_steps, again.seconds) == (1234, 5.5)
    torch.testing.assert_close(again.make()(observation), network(observation), rtol=0, atol=0)
    assert write_torchscript(saved, tmp_path / "agent.pt") < 1e-5
    files = {"game": "", "action_names": ""}
    scripted = torch.jit.load(tmp_path / "agent.pt", _extra_files=files)
    torch.testing.assert_close(scripted(observation), network(observation), rtol=1e-4, atol=1e-5)
    assert files["game"] == saved.spec.name.encode() or files["game"] == saved.spec.name
    assert {path.name for path in tmp_path.iterdir()} == {"agent.safetensors", "agent.pt"}


@pytest.fixture(scope="module")
def files(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    exported = tmp_path_factory.mktemp("files") / "agent.safetensors"
    write_network(read_network(toy_run), exported)
    return {"run": toy_run, "checkpoint": toy_run / "checkpoints" / "latest.safetensors", "exported": exported}


@pytest.mark.parametrize("kind", ["checkpoint", "exported"])
@pytest.mark.parametrize(
    ("name", "output", "arguments"),
    [
        ("record", "agent.gif", ("--max-seconds", "1")),
        ("explain", "features.png", ("--states", "10", "--method", "pca")),
        ("evaluate", "scores.json", ("--episodes", "2", "--workers", "1")),
    ],
)
def test_commands_take_a_file_as_they_take_a_run(
    in_process: InProcess,
    files: dict[str, Path],
    tmp_path: Path,
    name: str,
    output: str,
    arguments: tuple[str, ...],
    kind: str,
) -> None:
    extra = {"record": "imageio_ffmpeg", "explain": "matplotlib"}.get(name, "torch")
    pytest.importorskip(extra, reason=f"launch.{name} needs an extra")
    code, _, error = in_process(
        importlib.import_module(f"launch.{name}").main, str(files[kind]), "--output", str(tmp_path / output), *arguments
    )
    assert code == 0 and (tmp_path / output).stat().st_size > 0, error


def test_an_exported_network_that_differs_is_refused() -> None:
    saved = untrained(CONFIGS["vector"])
    network = saved.make()
    assert agreement(network, network, saved.spec) == 0
    for wrong in (lambda x: network(x) + 0.01, lambda x: network(x) * torch.nan):
        with pytest.raises(UserError, match="differs from the trained one"):
            agreement(network, wrong, saved.spec)


def test_torchscript_of_what_rules_actions_out_and_of_what_counts_rows(tmp_path: Path) -> None:
    a3c = Config(env="CartPole-v1", algorithm="a3c", network="tests.networks:ruling_out")
    assert write_torchscript(untrained(a3c), tmp_path / "agent.pt") < 1e-5
    with pytest.raises(UserError, match="fails on other observations"):
        write_torchscript(untrained(replace(a3c, network="tests.networks:counting_rows")), tmp_path / "no.pt")
    assert not (tmp_path / "no.pt").exists()


def test_the_file_is_small_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    light_run(Config(norm="layer"), tmp_path)
    path = tmp_path / "pong.safetensors"
    export._run(export.Options(run=tmp_path, output=path))
    assert path.stat().st_size < 3e6 and "pong.safetensors (2.7 MiB)" in capsys.readouterr().out
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
        assert list(file.keys()) == ["parameters"]
    assert (metadata["game"], metadata["total_steps"]) == ("pong", "1234")
    assert (
        metadata["action_names"] == "NOOP FIRE RIGHT LEFT RIGHTFIRE LEFTFIRE" and "84x84" in metadata["preprocessing"]
    )
    assert load(path).spec == load(tmp_path).spec
    for output, message in (
        ("agent.zip", "must end in .safetensors or .pt"),
        ("/proc/agent.PT", "cannot write /proc/"),
        ("/proc/agent.pt", "cannot write /proc/"),
    ):
        with pytest.raises(UserError, match=message):
            export._run(export.Options(run=tmp_path, output=Path(output)))


def test_a_life_lost_as_a_game_is_cut_is_no_end() -> None:
    """Breakout's first life is gone 25 steps after the ball was served, if the paddle stays."""
    environment = AsGymnasium(Config(env="breakout", no_ops=0, max_episode_frames=100))
    environment.reset(seed=0)
    lives, ended = [], (False, False)
    while not any(ended):
        *_, terminated, truncated, _ = environment.step(1)
        ended = (terminated, truncated)
        lives.append(environment._environment.lives)  # type: ignore[union-attr]
    assert ended == (False, True) and len(lives) == 25 and lives[-1] == lives[-2] - 1


def test_a_network_whose_code_has_changed_is_refused(tmp_path: Path) -> None:
    saved = untrained(CONFIGS["the user's own"])
    path = tmp_path / "agent.safetensors"
    write_network(saved, path)
    with pytest.raises(UserError, match=r"names code to import, tests\.networks:own_network; .* add --trust-code"):
        read_network(path)
    write_network(dataclasses.replace(saved, config=dataclasses.replace(saved.config, network="mlp")), path)
    with pytest.raises(UserError, match="holds another network than --network mlp makes now"):
        load(path)


def test_damage_is_noticed_and_the_checkpoint_before_is_used(tmp_path: Path) -> None:
    saved = light_run(CONFIGS["vector"], tmp_path)
    shutil.copy(saved.path, tmp_path / BEST)
    data = bytearray(saved.path.read_bytes())
    data[-1] ^= 1
    saved.path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="checksum does not agree"):
        assert load(tmp_path).total_steps == saved.total_steps
    assert read_network(tmp_path).path == tmp_path / BEST
    assert (read_network(tmp_path, "best").path, read_network(tmp_path, "best").passed_over) == (tmp_path / BEST, ())
    with pytest.raises(UserError, match="checksum does not agree"):
        load(saved.path)


def test_the_same_parameters_in_another_order_are_another_network() -> None:
    saved = untrained(CONFIGS["vector"])
    turned = dict(reversed(saved.layout.items()))
    with pytest.raises(UserError, match="holds another network than"):
        dataclasses.replace(saved, layout=turned).make()
    table = make_table(saved.config, saved.spec)
    whole = Checkpoint(saved.path, saved.config, saved.spec, turned, Progress(), {})
    with pytest.raises(UserError, match="holds another network than"):
        restore(whole, table, saved.config, saved.spec, saved.layout)


def test_an_agent_takes_one_observation_or_many() -> None:
    agent = Agent(untrained(CONFIGS["vector"]))
    many = np.random.default_rng(0).standard_normal((7, 4), dtype=np.float32)
    values = agent.q_values(many)
    assert values.shape == (7, 2) and agent.value(many).shape == (7,) and agent.value(many[0]).shape == ()
    np.testing.assert_allclose(agent.q_values(many[3]), values[3], rtol=1e-5)
    np.testing.assert_array_equal(agent.value(many), values.max(axis=1))
    np.testing.assert_array_equal(agent.act(many), values.argmax(axis=1))
    assert agent.act(many[2]) == values[2].argmax() and not any(p.requires_grad for p in agent.network.parameters())
    with pytest.raises(ValueError, match="epsilon is a probability, between 0 and 1, got 2"):
        agent.act(many, epsilon=2)
    actions = agent.act(np.repeat(many[:1], 4000, axis=0), epsilon=0.5, random=np.random.default_rng(1))
    assert np.mean(actions == values[0].argmax()) == pytest.approx(0.75, abs=0.03)
    assert torch.is_grad_enabled()
    with pytest.raises(ValueError, match="has no policy"):
        agent.policy(many)
    for kind in (np.float64, np.float16, np.int64):  # converted, as the observations of environments are
        np.testing.assert_array_equal(agent.q_values(many.astype(kind)), agent.q_values(many.astype(kind).astype("f")))
    for wrong in (many[None], many.astype(str), many[:, :2]):
        with pytest.raises(ValueError, match=r"expected an observation float32 \(4,\)"):
            agent.act(wrong)


def test_an_a3c_agent_has_a_policy_and_a_value() -> None:
    agent = Agent(untrained(Config(env="CartPole-v1", algorithm="a3c")))
    observation = np.full((20_000, 4), 0.5, np.float32)
    probabilities = agent.policy(observation[0])
    assert probabilities.shape == (2,) and probabilities.sum() == pytest.approx(1)
    with torch.no_grad():
        outputs = agent.network(torch.from_numpy(observation[:1]))[0]
    assert float(agent.value(observation[0])) == pytest.approx(float(outputs[2]))
    actions = agent.act(observation, random=np.random.default_rng(0))
    assert np.mean(actions) == pytest.approx(probabilities[1], abs=0.02)
    with pytest.raises(ValueError, match="no Q-values"):
        agent.q_values(observation)
    with pytest.raises(ValueError, match="no epsilon"):
        agent.act(observation, epsilon=0.1)


def test_an_agent_evaluates_itself() -> None:
    result = Agent(untrained(CONFIGS["vector"])).evaluate(episodes=4, workers=1, seed=3)
    assert result.protocol == Protocol(episodes=4, epsilon=0.05, seed=3) and len(result.scores) == 4


@pytest.mark.parametrize("env", ["catch", "CartPole-v1", "pong"])
def test_others_find_a_sound_gymnasium_environment(env: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(spec|spaces|Box).*")  # of an environment that is not registered
        check_env(AsGymnasium(Config(env=env), "rgb_array" if env == "pong" else None))


def test_the_gymnasium_environment_is_the_game_as_it_was_trained_on() -> None:
    environment = AsGymnasium(Config(env="pong", max_episode_frames=60, sticky=0.25), "rgb_array")
    played = []
    for _ in range(2):
        observation, _ = environment.reset(seed=4)
        steps = [environment.step(2)]
        while not (steps[-1][2] or steps[-1][3]):
            steps.append(environment.step(2))
        played.append([step[0] for step in steps])
        assert steps[-1][2:4] == (False, True)  # cut, not lost
        assert observation.shape == (84, 84, 4) and environment.render().shape == (210, 160, 3)
    np.testing.assert_array_equal(*played)
    with pytest.raises(gymnasium.error.ResetNeeded):
        AsGymnasium(Config(env="catch")).step(0)
    environment.reset()
    for action in (-1, environment.action_space.n):
        with pytest.raises(UserError, match=f"expected an action from 0 to 5, got {action}"):
            environment.step(action)
    with pytest.raises(UserError, match="no render mode 'human'"):
        AsGymnasium(Config(env="pong"), "human")


def test_a_card_holds_what_is_known_of_a_run(tmp_path: Path, toy_run: Path) -> None:
    run_dir = Path(shutil.copytree(toy_run, tmp_path / "run"))
    card._run(card.Options(run_dir))
    text = (run_dir / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Not evaluated yet" in text and "lr = 0.5" in text and "gamma" not in text and "torch 2" in text
    assert (run_dir / "MODEL_CARD.png").read_bytes().startswith(b"\x89PNG") and "](MODEL_CARD.png)" in text
    curve = read_curve(run_dir)
    assert curve is not None and 0 < curve.games.sum() < len((run_dir / "episodes.csv").read_text().splitlines())
    saved = read_network(run_dir)
    from async_rl import evaluation
    from async_rl.match import evaluate

    result = evaluate(saved, Protocol(episodes=3), 1)
    sessions = [session | {"started": f"day {day}"} for day, session in enumerate(2 * run_directory.sessions(run_dir))]
    (run_dir / "run.json").write_text(json.dumps({"sessions": sessions}), encoding="utf-8")
    assert "](my%20card%20%281%29.png)" in model_card(run_dir, saved, curve, "my card (1).png", [])
    assert "Started day 0, gone on with day 1." in model_card(run_dir, saved, curve, None, [])
    own = replace(saved, config=replace(saved.config, network="tests.networks:own_network"))
    trusting = model_card(run_dir, own, curve, None, [replace(result, scores=(1.0,), lengths=(9,))])
    assert f"launch.evaluate {run_dir} --trust-code" in trusting and ", trust_code=True)" in trusting
    assert "nan" not in trusting and "trust" not in model_card(run_dir, saved, curve, None, [])
    assert model_card(run_dir, own, curve, None, []).count(" --trust-code") == 2  # how to evaluate it, and to use it
    numbers = model_card(run_dir, saved, curve, None, [result])
    assert f"| {curve.score[0]:,.2f} |" in numbers and "3 whole games, epsilon 0.05, seed 0" in numbers
    evaluation.write(result, evaluation.default_path(run_dir, result.total_steps))
    (run_dir / "run.json").unlink()
    (run_dir / "episodes.csv").unlink()
    card._run(card.Options(run_dir, tmp_path / "CARD.md"))
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert "not on record" in text and f"| {result.mean:,.2f} |" in text and not (tmp_path / "CARD.png").exists()
    with pytest.raises(UserError, match="is a file"):
        card._run(card.Options(tmp_path / "CARD.md"))
    unreadable = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.md"))
    card._run(card.Options(run_dir.rename(unreadable.with_suffix("")), unreadable))
    assert "/caf?'" in unreadable.read_text(encoding="utf-8")
    for output in (Path("."), tmp_path / "card.png"):
        with pytest.raises(UserError, match=r"--output must end in .md"):
            card._run(card.Options(run_dir, output))


def test_a_card_has_each_figure_in_its_column(tmp_path: Path) -> None:
    result = Evaluation("pong", "x", 7, Protocol(episodes=3), True, (1.0, 2.0, 6.0), (10, 20, 66), 1.0)
    card = model_card(tmp_path, untrained(Config(env="pong")), None, None, [result])
    header = "| T | mean | standard error | median | best | steps per game | human-normalised | protocol |"
    assert header in card and "| 7 | 3.00 | 1.53 | 2.00 | 6.00 | 32 | 0.79 | 3 whole games" in card
    assert "1,234 steps (4,936 frames)" in card


def test_a_trained_network_drops_nothing_out() -> None:
    agent = Agent(untrained(Config(env="CartPole-v1", network="tests.networks:dropping")))
    observation = [[0.1, 0.2, 0.3, 0.4]] * 8
    assert (agent.q_values(observation) == agent.q_values(observation)).all()  # type: ignore[arg-type]


def test_games_of_the_gymnasium_environment_follow_from_the_seed_that_is_given() -> None:
    environment = AsGymnasium(Config(env="catch"))
    first, again = ([environment.reset(seed=seed)[0].tobytes() for seed in range(60)] for _ in range(2))
    assert first == again and len(set(first)) == 5  # the columns of the ball
