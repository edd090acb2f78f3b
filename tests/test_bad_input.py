"""Bad input, thousands of times: whatever comes, there is a valid configuration or one sentence, never a traceback."""

import contextlib
import csv
import dataclasses
import importlib
import io
import json
import pickle
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_rl import AsGymnasium, Config, UserError, checkpoint, load, reporting, run_directory, storage, train
from async_rl.build import make_table
from async_rl.checking import flag
from async_rl.checkpoint_content import decode, encode
from async_rl.config_file import from_text, from_toml, from_values, to_toml
from async_rl.envs import describe
from async_rl.networks import make_network
from async_rl.shared import layout
from launch.train import parse

pytestmark = pytest.mark.faults

FIELDS = [field.name for field in dataclasses.fields(Config)]
FLAGS = [*map(flag, FIELDS), "--config", "--resume", "--init-from", "--run-dir", "--trust-code"]


def test_what_is_no_configuration_or_number_is_named_in_the_library(tmp_path: Path, toy_run: Path) -> None:
    told = "config must be of type Config, got 'pong'"
    for call in (lambda: train("pong", tmp_path / "run"), lambda: AsGymnasium("pong")):  # type: ignore[arg-type]
        with pytest.raises(UserError, match=told):
            call()
    assert not (tmp_path / "run").exists()
    agent = load(toy_run)
    for name, value, kind in (("episodes", "10", "int"), ("epsilon", [0.1], "float"), ("workers", 1.5, "int")):
        with pytest.raises(UserError, match=f"{name} must be of type {kind}, got "):
            agent.evaluate(**{name: value})


many = settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))

NUMBERS = st.one_of(
    st.integers(-3, 5000),
    st.integers(),
    st.sampled_from([10**30, -(10**30), 2**63, 2**63 - 1, 2**64, 10**400]),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from([float("nan"), float("inf"), -0.0, 1e308, 5e-324]),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "\0", "a\nb", "\ud800", "x" * 5000, "../../x", "os:system", "none", "auto", "é日本", "-1"]
    ),
)
PLAIN = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=6
)
OPTIONS = st.sampled_from(
    ["one-step-q", "n-step-q", "a3c", "none", "shared", "huber", "adam", "ladder", "nips", "core"]
)


def one_sentence(error: UserError) -> None:
    text = str(error)
    assert text and len(text) < 2000 and text[-1] in ".?", text
    text.encode("utf-8", "backslashreplace")


def valid_or_one_sentence(make: Callable[[], Config]) -> Config | None:
    try:
        config = make()
    except UserError as error:
        one_sentence(error)
        return None
    assert from_text(to_toml(config)) == config
    json.dumps(dataclasses.asdict(config), allow_nan=False)
    return config


@many
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES | OPTIONS, max_size=3))
def test_values_from_python(values: dict[str, Any]) -> None:
    valid_or_one_sentence(lambda: Config(**values))


@pytest.mark.parametrize("name", ["steps", "lr", "env", "algorithm", "final_epsilons", "lr_range", "no_such_name"])
def test_integers_of_more_digits_than_python_writes(name: str) -> None:
    for value in (10**5000, [10**5000]):
        with pytest.raises(UserError) as error:
            from_values({name: value})
        one_sentence(error.value)


@many
@given(st.dictionaries(st.sampled_from([*FIELDS, "lambda"]) | TEXTS, VALUES | OPTIONS, max_size=3) | VALUES)
def test_values_from_a_table(values: Any) -> None:
    valid_or_one_sentence(lambda: from_values(values))


LINES = st.builds(
    "{} = {}".format,
    st.sampled_from([*FIELDS, "lambda", "x.y", '"a\\u0000"', "[[a]]", "[t]\nsteps"]),
    st.one_of(
        st.sampled_from(["nan", "inf", "-inf", "1e999", "9" * 5000, "0x7f", "1_0", "[", "[" * 3000, "{a = 1}",
                         "[[1], 'a']", '"\\u0000"', '"a:b"', "'''x\ny'''", "2020-01-01", "true", "''", "1 2", "[]"]),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=10),
    ),
)  # fmt: skip


@many
@given(st.lists(LINES, max_size=3).map("\n".join) | st.text(max_size=60) | st.text(string.punctuation, max_size=30))
def test_texts_in_toml(text: str) -> None:
    valid_or_one_sentence(lambda: from_text(text))


@settings(many, max_examples=150)
@given(
    st.binary(max_size=60) | st.lists(LINES, max_size=2).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))
)
def test_files_in_toml(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        from_toml(path)
    except UserError as error:
        one_sentence(error)
        assert str(path) in str(error)


WORDS = st.one_of(
    st.sampled_from(FLAGS),
    st.sampled_from(FLAGS).map(lambda name: name.replace("-", "_")),
    st.builds("{}={}".format, st.sampled_from(FLAGS), NUMBERS.filter(lambda n: abs(n) < 1e300).map(str) | TEXTS),
    st.sampled_from(FLAGS).map(lambda name: f"--no-{name[2:]}"),
    st.sampled_from(["--", "-", "-h", "@file", "--help", "None", "True", "nan", "1e400", "9" * 5000, "0x10", "1_000"]),
    NUMBERS.filter(lambda n: abs(n) < 1e300).map(str),
    OPTIONS,
    TEXTS,
)
PAIRS = st.tuples(st.sampled_from(FLAGS), NUMBERS.filter(lambda n: abs(n) < 1e300).map(str) | OPTIONS | TEXTS)


@settings(many, max_examples=300)
@given(
    st.lists(WORDS, max_size=4)
    | st.lists(PAIRS, min_size=1, max_size=2).map(lambda pairs: [w for p in pairs for w in p])
)
def test_command_lines(arguments: list[str]) -> None:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            command = parse(arguments)
    except UserError as error:
        one_sentence(error)
    except SystemExit as exit:
        assert exit.code in (0, 2) and printed.getvalue()
        assert "Traceback" not in printed.getvalue()
    else:
        assert isinstance(command, Config)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x/" * 3000])
def test_paths_that_no_system_takes(name: str) -> None:
    for flags in (["--config", name], ["--resume", name]):
        with pytest.raises(UserError) as told:
            parse(flags)
        one_sentence(told.value)
    with pytest.raises(UserError) as told:
        run_directory.make_run_dir(Path(name))
    one_sentence(told.value)
    with pytest.raises(UserError) as told:
        load(name)
    one_sentence(told.value)


# Files from others.


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a real checkpoint."""
    config = Config(env="catch", workers=1, envs_per_worker=1)
    spec = describe(config)
    table = make_table(config, spec)
    return storage.unseal(encode(table, config, spec, layout(make_network(config, spec)), checkpoint.Progress()))


def readable_or_one_sentence(content: bytes) -> None:
    try:
        decode(Path("some/file"), content)
    except UserError as error:
        one_sentence(error)
        assert "some/file" in str(error)


@settings(many, max_examples=300)
@given(data=st.data())
def test_checkpoints_with_wrong_descriptions(parts: Any, data: st.DataObject) -> None:
    description, arrays = json.loads(json.dumps(parts[0])), parts[1]
    place: Any = description
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    value = data.draw(VALUES)
    place[key] = value
    try:
        content = storage.seal(description, arrays)
    except ValueError:  # what JSON cannot hold either
        return
    readable_or_one_sentence(content)


@settings(many, max_examples=200)
@given(
    st.binary(max_size=100), st.sampled_from([b"", b"[" * 100_000, b'{"__metadata__":{"async_rl":"{}","sha256":"0"}}'])
)
def test_any_bytes_as_a_checkpoint(some: bytes, header: bytes) -> None:
    readable_or_one_sentence(some)
    readable_or_one_sentence(len(header).to_bytes(8, "little") + header + some)
    sealed = storage.seal({}, {"a": np.frombuffer(some, np.uint8)})
    readable_or_one_sentence(sealed)
    readable_or_one_sentence((2**63).to_bytes(8, "little") + sealed[8:])
    readable_or_one_sentence(safetensors.numpy.save({}, {"async_rl": some.hex()}))


@settings(many, max_examples=100)
@given(st.text(max_size=200), st.sampled_from(["", '"', "9" * 5000, "x" * 200_000, '"' + "y,\n" * 50_000]))
def test_any_text_as_logs_of_a_run(tmp_path_factory: pytest.TempPathFactory, text: str, more: str) -> None:
    path = tmp_path_factory.getbasetemp() / "episodes.csv"
    header = ",".join(reporting.GAME_COLUMNS)
    path.write_text(f"{header}\n1,1,0,0,5,9,0.1\n{text}{more}\n2,1,0,0,7,{more or 9},0.1\n", "utf-8", "replace")
    statistics = reporting.EpisodeStatistics.from_csv(path, 10**9)
    assert statistics.games >= 1
    assert isinstance(statistics.mean_length_steps, float)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_bomb_does_not_go_off(tmp_path: Path) -> None:
    harm, run_dir = tmp_path / "harm", tmp_path / "run"
    bomb = pickle.dumps(Bomb(harm))
    pickle.loads(bomb)
    assert harm.exists()  # it is a bomb
    harm.unlink()
    (run_dir / "checkpoints").mkdir(parents=True)
    names = ["config.toml", "run.json", "episodes.csv", "metrics.csv", "events.out.tfevents.1.x"]
    for name in [*names, *(f"checkpoints/{name}.safetensors" for name in ("latest", "previous", "best"))]:
        (run_dir / name).write_bytes(bomb)
    for attempt in (
        lambda: load(run_dir),
        lambda: load(run_dir / "checkpoints" / "best.safetensors"),
        lambda: parse(["--resume", str(run_dir)]),
        lambda: parse(["--config", str(run_dir / "config.toml")]),
    ):
        with pytest.raises(UserError):
            attempt()
    config = Config(env="catch", workers=1)
    run_directory.record(run_dir, config, describe(config), {})
    assert len(json.loads((run_dir / "run.json").read_text())["sessions"]) == 1
    reporting.open_logs(run_dir, {}, 100, print).close()
    assert next(csv.reader((run_dir / "episodes.csv").open()), None) in (None, list(reporting.GAME_COLUMNS))
    assert not harm.exists()


def test_names_in_files_do_not_lead_out_of_the_run_directory() -> None:
    spec = describe(Config(env="catch"))
    for name in ("../../x", "/etc/passwd", "..", "a\0b", "a:b/c", "x" * 500, "\\..\\x", "a\nb"):
        path = run_directory.default_run_dir(Config(env="catch"), dataclasses.replace(spec, name=name))
        assert path.parent == Path("runs") and len(path.name) < 200 and path.name.isprintable()
        assert path.resolve().parent == Path("runs").resolve()


SPY = """
from pathlib import Path
Path(__file__).with_name("was_imported").touch()
def env(): ...
def network(*_): ...
"""


@pytest.mark.parametrize("setting", ["env", "network"])
def test_code_that_a_file_names_is_not_imported_unless_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: Any, setting: str
) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"spy:{setting}"
    toml, run_dir = tmp_path / "theirs.toml", tmp_path / "run"
    toml.write_text(f'{setting} = "{name}"\n')
    description = json.loads(json.dumps(parts[0]))
    description["config"][setting] = name
    storage_path = run_dir / checkpoint.LATEST
    storage_path.parent.mkdir(parents=True)
    storage_path.write_bytes(storage.seal(description, parts[1]))
    for flags in (["--config", str(toml)], ["--resume", str(run_dir)]):
        with pytest.raises(UserError, match=f"names code to import, {name}; .* add --trust-code or --{setting} {name}"):
            parse(flags)
        assert getattr(parse([*flags, "--trust-code"]), setting) == name
        assert getattr(parse([*flags, f"--{setting}", name]), setting) == name
        assert getattr(parse([*flags, f"--{setting}={name}"]), setting) == name
        assert getattr(parse([*flags, f"--{setting}", "catch" if setting == "env" else "mlp"]), setting) != name
    assert getattr(parse([f"--{setting}", name]), setting) == name
    with pytest.raises(UserError, match=f"names code to import, {name}; .* trust_code=True"):
        load(run_dir)
    assert not (tmp_path / "was_imported").exists()
    if setting == "network":
        with pytest.raises(UserError, match=r"must give a torch module|failed on"):
            load(run_dir, trust_code=True)
        assert (tmp_path / "was_imported").exists()
    assert getattr(checkpoint.read(run_dir).config, setting) == name


@pytest.mark.parametrize("command", ["evaluate", "record", "explain", "plot", "card", "export"])
@pytest.mark.parametrize("name", ["nothing", "x" * 5000, "a\0b", "empty", "text", "\ud800"])
def test_what_is_no_run_is_one_line_and_exit_code_2(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("not a run")
    required = {"export": "agent.pt", "plot": "curves.png"}
    output = ["--output", str(tmp_path / required[command])] if command in required else []
    monkeypatch.setattr(sys, "argv", [command, str(tmp_path / name), *output])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"launch.{command}").main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1
