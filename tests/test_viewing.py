"""What is shown of an agent is what it does and thinks; videos are decoded again."""

import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networks
import numpy as np
import pytest
import torch
from conftest import ROOT, mounted, python_m, wait_for
from torch import nn
from torch.nn import functional

from async_rl import Config, train
from async_rl.agent import Agent
from async_rl.envs import make_environment
from async_rl.envs.checked import Checked
from async_rl.types import EnvSpec, UserError

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="videos need the extra 'video'")
pytest.importorskip("PIL", reason="videos need the extra 'video'")

from async_rl.viewing import canvas as colours  # noqa: E402
from async_rl.viewing import recording, video  # noqa: E402
from async_rl.viewing.panels import Scales  # noqa: E402
from async_rl.viewing.play import Moment, Play  # noqa: E402
from async_rl.viewing.recording import Camera, Recorded, Wish, record  # noqa: E402
from async_rl.viewing.saliency import input_gradient, saliency  # noqa: E402
from async_rl.viewing.scene import Scene, observation_picture  # noqa: E402
from async_rl.viewing.stage import Stage, Titles, enlarged, overlay  # noqa: E402

SPEC = EnvSpec("screens", (84, 84, 4), "uint8", ("NOOP", "LEFT", "RIGHT"), frames_per_step=4, stack=4)
PICTURE = np.full((210, 160, 3), 77, np.uint8)


def untrained(config: Config) -> Agent:
    return Agent(networks.untrained(config))


def moment(**changes: Any) -> Moment:
    seen = np.arange(84 * 84 * 4, dtype=np.uint8).reshape(84, 84, 4)
    now = Moment(seen, np.array([1.0, 2.0, -1.0], np.float32), 2.0, action=1, random=False, game=0, step=0, score=0.0)
    return dataclasses.replace(now, **changes)


def stage(policy: bool = False, spec: EnvSpec = SPEC) -> Stage:
    scales = Scales(preferences=(-2.0, 4.0), advantage=2.0, value=(-1.0, 3.0))
    return Stage(Titles("screens", "untrained"), spec, scales, PICTURE, 15.0, policy)


def widths(picture: np.ndarray, at: Stage, actions: int, colour: colours.Colour) -> list[int]:
    """Columns of ``colour`` in the middle row of each action's first bar."""
    box, row = at.preferences.box, at.preferences.row
    rows = [box.y + 26 + number * row + row // 2 - 2 for number in range(actions)]
    left, width = at.preferences.bars
    return [int((picture[y, left : left + width] == colour).all(axis=1).sum()) for y in rows]


@pytest.mark.parametrize("random", [False, True])
def test_bars_are_proportional_and_the_chosen_one_has_its_colour(random: bool) -> None:
    at = stage()
    picture = at.decision([moment(random=random)])
    unit = at.preferences.bars[1] / 6  # pixels of a Q of 1: the range is 6
    chosen = colours.PURPLE if random else colours.ORANGE
    assert widths(picture, at, 3, colours.BLUE) == pytest.approx([unit, 0, unit], abs=1)
    assert widths(picture, at, 3, chosen) == pytest.approx([0, 2 * unit, 0], abs=1)


def test_an_environment_without_frames_within_a_step_is_shown_as_fast_as_it_is_played() -> None:
    environment: Any = SimpleNamespace(spec=SPEC, frames_per_second=60.0, screen_rgb=lambda: PICTURE)
    scene = Scene(environment)
    assert (scene.frames_per_second, scene.pictures_per_step) == (15.0, 1)
    environment.on_frame = None
    scene = Scene(environment)
    assert (scene.frames_per_second, scene.pictures_per_step) == (60.0, 4)


def test_scales_stay_while_values_move() -> None:
    at = stage()
    first, before = at.decision([moment()]), at.preferences.bar(1.0)
    at.decision([moment(preferences=np.array([4.0, -2.0, 3.0], np.float32))])
    assert before == at.preferences.bar(1.0) and np.array_equal(first, at.decision([moment()]))


def test_the_game_is_enlarged_by_a_whole_number_and_inputs_are_shown_as_they_are() -> None:
    at, picture = stage(), np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
    shown = at.decision([moment()])
    at.place(shown, picture)
    box = at.game
    assert (box.width, box.height) == (480, 630) and at.size[0] % 2 == at.size[1] % 2 == 0
    assert np.array_equal(shown[box.y : box.bottom : 3, box.x : box.right : 3], picture)
    newest = moment().observation[:, :, 3]
    inputs = at.inputs.box
    assert np.array_equal(shown[inputs.y + 26 : inputs.y + 110, inputs.right - 84 : inputs.right, 0], newest)
    assert enlarged(np.zeros((10, 5, 3))) == (315, 630) and enlarged(np.zeros((1400, 1440, 3))) == (648, 630)


def test_many_actions_and_long_names_fit() -> None:
    names = tuple(f"A_VERY_LONG_NAME_{number}" for number in range(18))
    at = stage(spec=dataclasses.replace(SPEC, action_names=names))
    shown = at.decision([moment(preferences=np.linspace(-2, 4, 18).astype(np.float32), action=17)])
    assert shown.shape[:2] == at.size[::-1] and at.inputs.box.bottom <= at.size[1]
    assert widths(shown, at, 18, colours.ORANGE)[17] > 0


def test_the_value_is_drawn_where_it_belongs() -> None:
    at = stage()
    history = [moment(value=float(value), step=step) for step, value in enumerate((0.0, 0.0, 2.5))]
    shown = at.decision(history)
    column = at.curve.plot.right - 5
    assert (shown[round(at.curve.y(2.5)), column] == colours.TEXT).all()
    assert not (shown[round(at.curve.y(0.5)), column] == colours.TEXT).any()


def test_heat_is_bright_where_it_is_high_only() -> None:
    heat = np.zeros((84, 84), np.float32)
    heat[60:, 60:] = 1.0
    shown = overlay(PICTURE, heat, (0.0, 1.0)).astype(int)
    assert shown[-10, -10, 0] > shown[-10, -10, 2] + 50  # yellow
    assert shown[10, 10].tolist() == [46, 46, 46]  # grey, darker than the picture


class Tiny(nn.Module):
    """A network of float64 with a kink-free middle, so that differences are exact enough."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3, dtype=torch.float64)
        self.head = nn.Linear(3 * 4 * 4, outputs, dtype=torch.float64)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x = observation.permute(0, 3, 1, 2).double() / 255
        return self.head(torch.tanh(self.convolution(x)).flatten(1))


@pytest.mark.parametrize("policy", [False, True])
def test_saliency_is_the_gradient_by_finite_differences(policy: bool) -> None:
    network = Tiny(4).requires_grad_(False)
    observation = np.random.default_rng(0).integers(0, 255, (6, 6, 2), np.uint8)
    gradient = input_gradient(network, observation, 1, policy)

    def chosen(step: float, place: tuple[int, int, int]) -> float:
        x = torch.from_numpy(observation).permute(2, 0, 1).double()[None] / 255
        x[(0, *place)] += step
        outputs = network.head(torch.tanh(network.convolution(x)).flatten(1))[0]
        return float((torch.log_softmax(outputs[:-1], 0) if policy else outputs)[1])

    for place in np.ndindex(2, 6, 6):
        assert float(gradient[place]) == pytest.approx((chosen(1e-5, place) - chosen(-1e-5, place)) / 2e-5, abs=1e-8)
    heat = saliency(network, observation, 1, policy)
    assert heat is not None and heat.shape == (6, 6) and heat.min() >= 0
    assert not network.convolution._forward_pre_hooks and not network._forward_pre_hooks


def test_saliency_of_a_layer_that_sees_the_channels_last_is_where_it_looks() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))  # of the network itself, whose input are whole numbers
            self.first = nn.Linear(2, 2)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return self.first(self.scale * observation.float())[:, 11, 3]

    observation = np.random.default_rng(0).integers(0, 255, (20, 20, 2), np.uint8)
    heat = saliency(Last().requires_grad_(False), observation, 1, policy=False)
    assert heat is not None and heat.shape == (20, 20) and np.unravel_index(heat.argmax(), heat.shape) == (11, 3)


class Branches(nn.Module):
    """The first layer with parameters sees nothing; convolutions come after it."""

    def __init__(self, outputs: int):
        super().__init__()
        self.bias, self.convolution = nn.Linear(1, outputs), nn.Conv2d(1, outputs, 3)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.bias(torch.ones(len(observation), 1))
        return self.convolution(observation.permute(0, 3, 1, 2).float()).mean((2, 3))


class NoLayers(nn.Module):
    def __init__(self, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(outputs, 50))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return functional.linear(observation.flatten(1).float(), self.weight)


@pytest.mark.parametrize("network", [Branches, NoLayers])
def test_networks_whose_look_cannot_be_shown_are_recorded_without_it(tmp_path: Path, network: type[Branches]) -> None:
    agent = untrained(Config(env="catch"))
    agent.network = network(3).requires_grad_(False)
    (tmp_path / "link.gif").symlink_to(tmp_path / "agent.gif")
    done = record(agent, Wish(tmp_path / "link.gif", max_seconds=1, saliency=True), lambda *_: None)
    assert "where it looks is not shown" in done.note
    assert (tmp_path / "link.gif").is_symlink() and (tmp_path / "agent.gif").is_file()


def test_every_frame_is_seen_of_atari_made_by_a_users_function_too() -> None:
    game = Checked(make_environment(Config(env="pong", no_ops=0), np.random.default_rng(0)))
    scene, seen = Scene(game), np.zeros(game.spec.observation_shape, np.uint8)
    game.reset(seen)
    scene.before_step(seen)
    scene.after_step(seen, game.step(2, seen).over)
    assert len(scene.pictures) == scene.pictures_per_step == 4


def test_long_scores_do_not_run_into_the_next_column() -> None:
    at = stage()
    shown = [at.decision([moment(score=score)]) for score in (4_938_260.0, 123_456.5)]
    short = at.decision([moment(score=1.0)])
    row = slice(at._numbers.y + 12, at._numbers.y + 12 + 36)
    for picture in shown:
        assert np.array_equal(picture[row, at._column(1) - 4 :], short[row, at._column(1) - 4 :])


def test_recorder_sees_every_frame_of_atari_and_nothing_changes_by_it() -> None:
    config = Config(env="pong", no_ops=0)
    games = [make_environment(config, np.random.default_rng(0)) for _ in range(2)]
    seen, plain = (np.zeros(game.spec.observation_shape, np.uint8) for game in games)
    scene = Scene(games[0])
    for game, observation in zip(games, (seen, plain), strict=True):
        game.reset(observation)
    for action in (2, 3, 2, 2, 3):
        scene.before_step(seen)
        outcomes = [game.step(action, into) for game, into in zip(games, (seen, plain), strict=True)]
        scene.after_step(seen, False)
        assert outcomes[0] == outcomes[1] and np.array_equal(seen, plain)
        assert len(scene.pictures) == 4 and np.array_equal(scene.pictures[-1], games[1].screen_rgb())  # type: ignore[attr-defined]


def test_play_repeats_with_the_seed() -> None:
    agent = untrained(Config(env="catch"))
    first, again = (list(Play(agent, 0.5, 7).moments(20)) for _ in range(2))
    assert [m.action for m in first] == [m.action for m in again] and len(first) == 20 * 9
    assert {m.score for m in first} == {0.0} and {m.reward for m in first if m.reward} == {-1.0, 1.0}
    greedy = [m for m in first if not m.random]
    assert all(m.action == m.preferences.argmax() and m.value == m.preferences.max() for m in greedy)
    assert 0.35 < 1 - len(greedy) / len(first) < 0.65
    other = list(Play(agent, 0.5, 8).moments(20))
    assert [m.action for m in first] != [m.action for m in other]


def test_a3c_shows_its_policy_and_its_value() -> None:
    agent = untrained(Config(env="catch", algorithm="a3c"))
    for shown in Play(agent, 0.0, 0).moments(2):
        with torch.no_grad():
            outputs = agent.network(torch.from_numpy(shown.observation)[None])[0]
        assert shown.preferences == pytest.approx(torch.softmax(outputs[:-1], 0).numpy())
        assert shown.value == float(outputs[-1]) and not shown.random


@pytest.mark.parametrize("ending", ["mp4", "gif"])
@pytest.mark.parametrize(("env", "steps"), [("catch", 9), ("pong", 12)])
def test_videos_hold_every_frame(tmp_path: Path, env: str, steps: int, ending: str) -> None:
    output, agent = tmp_path / f"agent.{ending}", untrained(Config(env=env))
    rate, frames_per_step = (5, 1) if env == "catch" else (60, 4)
    wish = Wish(output, max_seconds=steps * frames_per_step / rate, saliency=env == "pong")
    told: list[tuple[str, int, int]] = []
    done = record(agent, wish, lambda *told_now: told.append(told_now))
    every = 3 if ending == "gif" and env == "pong" else 1
    played = steps * frames_per_step + (env == "catch")  # catch shows the board before each step, and the last one
    assert done.steps == steps and done.frames == played // every + rate // every  # the last one stands for a second
    reader = imageio_ffmpeg.read_frames(str(output))
    facts = next(reader)
    width, height = facts["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    assert len(frames) == done.frames and facts["fps"] == pytest.approx(rate / every, rel=0.01)
    assert {path.name for path in tmp_path.iterdir()} == {output.name}
    assert told[-1] == ("recording", steps, steps)
    assert np.abs(frames[0][4, 4].astype(int) - colours.BACKGROUND).max() < 12  # not black, not torn


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_the_last_picture_has_the_game_in_it(steps: int) -> None:
    """Of 50 pictures a second, one a step, a GIF takes each third; the last one need not be among them."""
    scene = SimpleNamespace(pictures=[PICTURE], frames_per_second=50.0, pictures_per_step=1, note="")
    camera = Camera(untrained(Config(env="catch")), Wish(Path("agent.gif")), scene)  # type: ignore[arg-type]
    box = camera.set_up(Scales(preferences=(-2.0, 4.0), advantage=2.0, value=(-1.0, 3.0))).game
    seen = moment(observation=np.zeros((10, 5, 1), np.uint8))
    taken = [picture.copy() for step in range(steps) for picture in camera.take(dataclasses.replace(seen, step=step))]
    assert len(taken) == 1
    for picture in camera.end():
        assert (picture[box.y : box.bottom, box.x : box.right] == 77).all()


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_a_colon_in_a_relative_name_is_no_protocol(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(untrained(Config(env="catch")), Wish(Path(f"12:30.{ending}"), max_seconds=1.0), lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == [f"12:30.{ending}"]


def test_pictures_in_grey_and_with_opacity_are_shown_and_others_said() -> None:
    class Drawn:
        spec = SPEC

        def __init__(self, picture: np.ndarray) -> None:
            self.picture = picture

        def screen_rgb(self) -> np.ndarray:
            return self.picture

    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = np.stack((grey, grey + 1, grey + 2, grey + 3), axis=2)
    seen = moment().observation
    for picture, expected in ((grey, grey[..., None].repeat(3, axis=2)), (colours, colours[..., :3])):
        scene = Scene(Drawn(picture))  # type: ignore[arg-type]
        scene.before_step(seen)
        assert np.array_equal(scene.pictures[0], expected) and not scene.note
    for picture in (grey / 12, np.zeros((3, 4, 2), np.uint8), np.zeros(3, np.uint8)):
        scene = Scene(Drawn(picture))  # type: ignore[arg-type]
        scene.before_step(seen)
        assert np.array_equal(scene.pictures[0], observation_picture(seen)) and "cannot draw itself" in scene.note


def test_a_game_that_does_not_repeat_is_recorded_whole_and_said(tmp_path: Path) -> None:
    done = record(untrained(Config(env="networks:make_growing")), Wish(tmp_path / "agent.mp4"), lambda *_: None)
    assert done.steps == 2 * done.scores[0] and "others than those looked at before" in done.note


def test_what_cannot_be_drawn_is_shown_as_it_is_seen(tmp_path: Path) -> None:
    class Blind:
        spec = EnvSpec("blind", (3,), "float32", ("a", "b"))

        def screen_rgb(self) -> np.ndarray:
            raise ImportError("no module named paint")

    scene = Scene(Blind())  # type: ignore[arg-type]
    scene.before_step(np.array([-1.0, 0.0, 1.0], np.float32))
    assert scene.pictures[0][0, :, 0].tolist() == [0, 127, 255] and "no module named paint" in scene.note
    colour = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(observation_picture(colour), colour)
    assert observation_picture(np.full((2, 2, 4), 0.5, np.float32)).tolist() == [[[127] * 3] * 2] * 2
    wish = Wish(tmp_path / "agent.mp4", max_seconds=1)
    assert record(untrained(Config(env="CartPole-v1")), wish, lambda *_: None).steps > 5


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python_m(f"launch.{name}", *arguments, timeout=200)


def test_record_works_on_a_run_and_tells_bad_input_in_one_line(
    tmp_path: Path, toy_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run
    done = command("record", str(run), "--output", str(tmp_path / "new" / "agent.gif"), "--episodes", "2")
    assert done.returncode == 0 and "18 steps" in done.stdout, done.stderr
    assert (tmp_path / "new" / "agent.gif").read_bytes().startswith(b"GIF89a")
    failed = command("record", str(run), "--output", "agent.avi")
    assert failed.returncode == 2 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    usual = ("--output", str(tmp_path / "agent.mp4"))
    for arguments, expected in (
        ((str(tmp_path / "none"), *usual), "there is no run"),
        ((str(tmp_path / "empty"), *usual), "no checkpoints"),
        ((str(run), "--output", "agent.avi"), "must end in .mp4 or .gif"),
        ((str(run), "--output", str(tmp_path / "file" / "agent.mp4")), "cannot write"),
        ((str(run), "--max-seconds", "1e30"), "--max-seconds must be above 0, at most 1,000,000"),
        ((str(run), "--epsilon", "2"), "--epsilon must be between 0 and 1"),
    ):
        monkeypatch.setattr(sys, "argv", ["record", *arguments])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module("launch.record").main()
        told = capsys.readouterr().err
        assert ended.value.code == 2 and expected in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("algorithm", "given", "epsilon"), [("a3c", [], 0.0), ("a3c", ["--epsilon", "0.5"], 0.5), ("one-step-q", [], 0.01)]
)
def test_a_policy_is_recorded_as_it_is_and_values_with_a_few_random_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Any, given: list[str], epsilon: float
) -> None:
    train(Config(env="catch", algorithm=algorithm, workers=1, steps=100), run_dir=tmp_path / "run", quiet=True)
    wishes: list[Wish] = []

    def note(agent: Agent, wish: Wish, tell: Any) -> Recorded:
        wishes.append(wish)
        return Recorded((), 0, 0, "")

    monkeypatch.setattr(recording, "record", note)
    monkeypatch.setattr(sys, "argv", ["record", str(tmp_path / "run"), "--output", str(tmp_path / "a.gif"), *given])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("launch.record").main()
    assert ended.value.code == 0
    assert [wish.epsilon for wish in wishes] == [epsilon]


@pytest.mark.parametrize(("number", "told"), [(signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "")])
def test_a_signal_ends_a_recording_without_a_traceback_and_leaves_nothing(
    number: signal.Signals, told: str, tmp_path: Path, toy_run: Path
) -> None:
    line = [sys.executable, "-m", "launch.record", str(toy_run), "--output", str(tmp_path / "agent.mp4")]
    long = ("--episodes", "1000000", "--max-seconds", "4000")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, and inherited, in background jobs
    try:
        process = subprocess.Popen([*line, *long], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for((tmp_path / ".agent.part.mp4").exists, "the file of the first pictures")
    os.killpg(process.pid, number)  # ffmpeg, too, as a terminal does it
    assert process.communicate(timeout=100)[1].removeprefix("\r") == told and process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("may_mount")
def test_a_full_disk_ends_a_recording_with_one_sentence(tmp_path: Path, toy_run: Path) -> None:
    output = tmp_path / "agent.mp4"
    line = [sys.executable, "-m", "launch.record", str(toy_run), "--output", str(output), "--max-seconds", "60"]
    done = subprocess.run(mounted(tmp_path, "8k", *line), cwd=ROOT, capture_output=True, text=True, timeout=200)
    said = done.stderr.replace("\r", "\n").splitlines()
    assert done.returncode == 2
    assert re.fullmatch(f"error: cannot write {output}: [^[]*No space left on device\\.", said[-1]), done.stderr
    assert not any("@" in each or "Traceback" in each for each in said)


def test_missing_ffmpeg_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r"pip install .\.\[video\]"):
        video.check_output(tmp_path / "agent.mp4")


def test_a_directory_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "agent.mp4").mkdir()
    with pytest.raises(UserError, match=f"^cannot write {tmp_path}/agent.mp4: Is a directory"):
        video.check_output(tmp_path / "agent.mp4")


def test_an_environment_that_has_changed_is_not_played() -> None:
    agent = untrained(Config(env="CartPole-v1"))
    agent.config = dataclasses.replace(agent.config, env="Acrobot-v1")
    with pytest.raises(UserError, match="untrained was trained on CartPole-v1 with the observation_shape"):
        Play(agent, 0.0, 0)


def test_the_score_of_a_moment_is_what_the_game_has_come_to() -> None:
    """CartPole gives a point a step; the next game begins at 0."""
    moments = list(Play(untrained(Config(env="CartPole-v1")), 0.5, 7).moments(2))
    assert [m.score for m in moments] == [float(m.step) for m in moments] and max(m.score for m in moments) > 5


def test_a_policy_is_drawn_from_and_not_only_followed() -> None:
    moments = list(Play(untrained(Config(env="catch", algorithm="a3c")), 0.0, 0).moments(200))
    expected = np.mean([m.preferences for m in moments], axis=0)
    shares = np.bincount([m.action for m in moments], minlength=3) / len(moments)
    assert shares == pytest.approx(expected, abs=0.05) and expected.min() > 0.1
