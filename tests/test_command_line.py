"""The command line as a person meets it: help, files, flags, and one clear sentence for bad input."""

import dataclasses
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, TIMEOUT_SECONDS, InProcess, command, python_m, rows
from torch import nn

from async_rl import Config, UserError, checkpoint, precision, resuming, run_directory, storage, train
from async_rl.advice import advice
from async_rl.checking import flag
from async_rl.config_file import from_text, from_toml, from_values, to_toml
from async_rl.cores import available_cores
from async_rl.precision import FEWEST_PARAMETERS, compute_dtype
from async_rl.resuming import MAY_DIFFER
from async_rl.shared import SharedTable
from async_rl.supervisor import Ending
from launch import card, cluster
from launch.train import main, parse


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return python_m("launch.async", *arguments, cwd=cwd)


def test_help_names_every_setting_with_its_default() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name in ("config", "run_dir", "resume", *(field.name for field in dataclasses.fields(Config))):
        assert re.search(rf" {flag(name)}[ ,\n]", result.stdout), name
    assert "10,000" in result.stdout and "default" in result.stdout


def test_the_commands_of_the_readme_can_be_given(
    toy_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("launch.command.available_cores", lambda: 1)
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [shlex.split(line.replace("$seed", "0"), comments=True) for block in blocks for line in block.splitlines()]
    given = [line[2:] for line in lines if line[1:3] in (["-m", "launch.async"], ["-m", "launch.cluster"])]
    assert len(given) >= 15
    for module, *arguments in given:
        words = [str(toy_run) if word.endswith("...") else word for word in arguments]
        try:
            (parse if module == "launch.async" else cluster.parse)(words)
        except SystemExit as ended:
            assert ended.code == 0 and "--help" in words, (words, capsys.readouterr().err)


@pytest.mark.parametrize("module", ["async", "cluster"])
def test_help_breaks_lines_where_they_are_full_and_nowhere_else(module: str) -> None:
    shown = python_m(f"launch.{module}", "--help", env={**os.environ, "COLUMNS": "600"}).stdout
    assert "only by --sticky), a Gymnasium id (CartPole-v1), a function of your own" in shown
    assert re.search(
        r"--config PATH +TOML file with settings that differ from the defaults, such as .* over it. +│", shown
    )


def test_the_module_of_the_training_command_says_that_it_is_none() -> None:
    done = python_m("launch.train")
    assert done.returncode == 1 and done.stderr == "error: the command is python -m launch.async\n"


def test_the_package_of_the_commands_tells_which_there_are() -> None:
    done = python_m("launch")
    commands = {path.stem for path in (ROOT / "launch").glob("*.py") if 'if __name__ == "__main__"' in path.read_text()}
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"python -m launch\.(\w+) +\w+ \w+", done.stdout)) == commands - {"train", "__main__"}
    wrong = python_m("launch", "async")
    assert wrong.returncode == 2 and re.fullmatch(
        r"error: .*launch\.async; got python -m launch async\.\n", wrong.stderr
    )


def test_the_version_is_that_of_the_project() -> None:
    import async_rl

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert async_rl.__version__ == project["version"]


def test_a_file_of_settings_is_read_by_its_name() -> None:
    import async_rl

    assert async_rl.from_toml(str(ROOT / "configs" / "pqn.toml")) == from_toml(ROOT / "configs" / "pqn.toml")


def test_auto_is_the_number_of_cores_wherever_workers_are_set(tmp_path: Path) -> None:
    (tmp_path / "three.toml").write_text("workers = 3\n")
    (tmp_path / "auto.toml").write_text('workers = "auto"\n')
    assert parse(["--config", str(tmp_path / "three.toml")]).workers == 3
    assert parse(["--config", str(tmp_path / "three.toml"), "--workers", "auto"]).workers == available_cores()
    assert parse(["--config", str(tmp_path / "auto.toml")]).workers == parse([]).workers == available_cores()
    assert parse(["--workers", "5"]).workers == 5
    assert Config(workers="auto").workers == available_cores()  # type: ignore[arg-type]


BAD_INPUT = {
    "unknown game": (["--env", "pongg"], "unknown game 'pongg'; did you mean pong"),
    "unknown module": (["--env", "no_such_module:make"], "no_such_module"),
    "continuous actions": (["--env", "Pendulum-v1"], "Discrete"),
    "no workers": (["--workers", "0"], "--workers must be between 1 and 4096, got 0"),
    "no steps": (["--steps", "0"], "--steps must be between 1"),
    "not a number": (["--lr", "nan"], "--lr must be a finite number"),
    "vanishing": (["--rms-epsilon", "1e-46"], "--rms-epsilon must be between 1e-37 and 1e37, got 1e-46"),
    "probabilities": (["--final-epsilon-probabilities", "0.5", "0.4", "0.3"], "whose sum is 1"),
    "epochs and replay": (["--epochs", "2", "--replay", "1000"], "--epochs needs --replay 0"),
    "epochs of odd batches": (["--epochs", "2", "--batch-size", "7"], "--batch-size that divides --t-max times"),
    "epochs of a3c": (
        ["--epochs", "2", "--batch-size", "16", "--algorithm", "a3c"],
        "--epochs has no meaning with --algorithm a3c",
    ),
    "lengths": (["--final-epsilons", "0.1"], "must have the same length"),
    "network": (["--env", "CartPole-v1", "--network", "nips"], "--network nips needs an image"),
    "no such run": (["--resume", "/no/such/run"], "there is no run or checkpoint at /no/such/run"),
    "no run": (["--resume", str(ROOT / "async_rl")], "is not a run with a checkpoint"),
    "no such file": (["--config", "/no/such/file.toml"], "cannot read the configuration /no/such/file.toml"),
    "both": (["--config", "a.toml", "--resume", "b"], "exclude each other"),
    "one step": (["--lambda", "0.5"], "--lambda has no meaning with --t-max 1"),
    "no sense": (["--algorithm", "a3c", "--double"], "--double has no meaning with --algorithm a3c"),
    "no target": (["--double", "--target", "none"], "--double has no meaning with --target none"),
    "two rates": (
        ["--lr", "1e-4", "--lr-range", "1e-4", "1e-2"],
        "--lr has no meaning with --lr-range, out of which the learning rate is drawn",
    ),
    "too little memory": (["--replay", "1000000000000"], "the replay memories need"),
    "too many steps at once": (
        ["--t-max", "100000", "--envs-per-worker", "4096", "--workers", "16"],
        "the steps between two updates need",
    ),
    "too many streams": (["--workers", "4096", "--envs-per-worker", "4096"], "must be at most 65,536"),
    "unwritable": (["--env", "catch", "--run-dir", "/dev/null/run"], "cannot make the run directory /dev/null/run"),
    "unwritable folder": (["--env", "catch", "--run-dir", "/proc/run"], "cannot make the run directory /proc/run"),
}


def test_a_learning_rate_on_the_command_line_wins_over_a_range_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("lr = 3e-4\nlr_range = [1e-4, 1e-2]", encoding="utf-8")
    rates = [
        (command.lr, command.lr_range)
        for flags in ([], ["--lr", "1e-3"], ["--lr=2.5e-4"], ["--lr-range", "1e-5", "1e-4"])
        for command in [parse(["--config", str(file), *flags])]
    ]
    assert rates == [(3e-4, (1e-4, 1e-2)), (1e-3, None), (2.5e-4, None), (3e-4, (1e-5, 1e-4))]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_gets_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, in_process: InProcess, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("async_rl.fork_server.prepare", lambda config: None)  # none of these comes to a process
    code, out, error = in_process(main, *arguments)
    assert code == 2 and out == "" and message in error
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["unknown game", "too little memory"])
def test_bad_input_gets_one_sentence_from_the_command_itself(name: str) -> None:
    arguments, message = BAD_INPUT[name]
    result = run(*arguments)
    assert result.returncode == 2 and message in result.stderr and result.stdout == ""
    assert result.stderr.startswith("error: ") and len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--workers", "many"], ["--no-such-flag"], ["--algorithm", "magic"], ["--config"]]
)
def test_arguments_that_cannot_be_parsed(in_process: InProcess, arguments: list[str]) -> None:
    code, out, error = in_process(main, *arguments)
    assert code == 2 and arguments[0] in error + out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("target_intervall = 5", "unknown key 'target_intervall'; did you mean target_interval?"),
        ("zzz = 5", "known keys: env"),
        ("workers = 'two'", "workers must be of type int, got 'two'"),
        ("workers = true", "workers must be of type int, got True"),
        ("algorithm = 'magic'", "algorithm must be one of one-step-q, one-step-sarsa, n-step-q, a3c, got 'magic'"),
        ("final_epsilons = 0.1", "final_epsilons must be a list"),
        ("lr = -1.0", "--lr must be a finite number above 0, got -1.0"),
        ("lr = ", "is no valid TOML"),
    ],
)
def test_errors_in_a_file_name_file_and_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as error:
        from_toml(path)
    assert message in str(error.value) and str(path) in str(error.value)


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("lr = 1\nt_max = 7\nfinal_epsilons = [0.5]\nfinal_epsilon_probabilities = [1]\n", encoding="utf-8")
    parsed = parse(["--config", str(path), "--t-max", "3"])
    assert (parsed.lr, parsed.t_max, parsed.final_epsilons) == (1.0, 3, (0.5,))
    assert parsed.gamma == Config().gamma


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = Config(env="catch", lr=1e-5, final_epsilons=(0.25,), final_epsilon_probabilities=(1.0,), workers=3)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert from_toml(path) == config
    assert from_values({}) == Config()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_presets_are_valid_and_hold_only_what_differs(path: Path) -> None:
    import tomllib

    config, default = from_toml(path), Config()
    for key in tomllib.loads(path.read_text(encoding="utf-8").replace("\nlambda =", "\nlambda_ =")):
        assert getattr(config, key) != getattr(default, key), f"{path.name}: {key} is the default"


PAPER = {
    "workers": 16, "envs_per_worker": 1, "t_max": 5, "steps": 80_000_000, "gamma": 0.99, "lr": 7e-4,
    "lr_schedule": "linear", "optimizer": "rmsprop", "statistics": "shared", "rms_decay": 0.99, "rms_epsilon": 0.1,
    "network": "auto", "norm": "none", "pixels": "unit", "precision": "float32", "rewards": "clipped",
}  # fmt: skip
VALUES = PAPER | {
    "target_interval": 10_000, "loss": "squared", "epsilon_anneal_steps": 1_000_000,
    "final_epsilons": (0.1, 0.01, 0.5), "final_epsilon_probabilities": (0.4, 0.3, 0.3),
}  # fmt: skip
DQN = {
    "workers": 1, "envs_per_worker": 4, "t_max": 1, "gamma": 0.99, "replay": 1_000_000, "batch_size": 32,
    "learning_starts": 50_000, "lr": 2.5e-4, "lr_schedule": "constant", "rms_decay": 0.95, "rms_epsilon": 0.01,
    "loss": "huber", "network": "nature", "pixels": "unit", "epsilon_anneal_steps": 1_000_000,
    "life_loss_ends_return": True,
}  # fmt: skip
DOUBLE_DQN = DQN | {"target_interval": 30_000, "final_epsilons": (0.01,), "double": True}
PUBLISHED = {
    "paper_one_step_q": VALUES | {"algorithm": "one-step-q"},
    "paper_one_step_sarsa": VALUES | {"algorithm": "one-step-sarsa"},
    "paper_n_step_q": VALUES | {"algorithm": "n-step-q"},
    "paper_a3c": PAPER | {"algorithm": "a3c", "entropy_weight": 0.01, "gradient_norm_limit": 40.0},
    "dqn": DQN | {"target_interval": 10_000, "final_epsilons": (0.1,)},
    "double_dqn": DOUBLE_DQN,
    "prioritized_dqn": DOUBLE_DQN | {"prioritized": True, "lr": 6.25e-5},
    "dueling_dqn": DOUBLE_DQN | {"dueling": True, "max_gradient_norm": 10.0},  # with the learning rate of double DQN
    "pqn_epochs": {  # CleanRL's
        "algorithm": "n-step-q", "lambda_": 0.65, "norm": "layer", "target": "none", "epochs": 4, "steps": 10_000_000,
        "lr": 2.5e-4, "lr_schedule": "linear", "gamma": 0.99, "rms_decay": 0.999, "epsilon_anneal_steps": 1_000_000,
        "final_epsilons": (0.01,),
    },
    "pqn": {"algorithm": "n-step-q", "lambda_": 0.65, "norm": "layer", "target": "none"},
}  # fmt: skip


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_values(preset: str) -> None:
    config = from_toml(ROOT / "configs" / f"{preset}.toml")
    assert {name: getattr(config, name) for name in PUBLISHED[preset]} == PUBLISHED[preset]


MEANINGLESS = [
    *(("replay", 1000, algorithm) for algorithm in ("one-step-sarsa", "n-step-q", "a3c")),
    *(("double", True, algorithm) for algorithm in ("one-step-sarsa", "a3c")),
    *((name, value, "a3c") for name, value in (("dueling", True), ("lambda_", 0.5), ("epochs", 2), ("loss", "huber"))),
]


@pytest.mark.parametrize(("name", "value", "algorithm"), MEANINGLESS)
def test_settings_that_mean_nothing_to_an_algorithm_are_refused(name: str, value: object, algorithm: str) -> None:
    with pytest.raises(UserError, match="has no meaning with --algorithm"):
        Config(workers=1, t_max=4, algorithm=algorithm, **{name: value})  # type: ignore[arg-type]


def test_a_directory_with_a_run_is_not_overwritten(toy_run: Path, in_process: InProcess) -> None:
    arguments = ("--env", "catch", "--steps", "100", "--workers", "1", "--run-dir", str(toy_run))
    code, _, error = in_process(main, *arguments)
    assert code == 2 and f"go on with --resume {toy_run}" in error


def test_a_checkpoint_of_another_game_or_network_or_a_damaged_one_is_refused(
    tmp_path: Path, toy_run: Path, in_process: InProcess
) -> None:
    shutil.copytree(toy_run, tmp_path / "run")
    code, _, error = in_process(main, "--resume", str(tmp_path / "run"), "--env", "CartPole-v1", "--steps", "200")
    assert code == 2 and "was trained on catch with 3 actions, not on CartPole-v1" in error
    latest = tmp_path / "run" / "checkpoints" / "latest.safetensors"
    code, _, error = in_process(main, "--resume", str(latest))
    assert code == 2 and "resumed by its directory" in error
    latest.write_bytes(latest.read_bytes()[:1000])
    result = run("--resume", str(tmp_path / "run"), "--steps", "4000")
    assert result.returncode == 0
    assert f"{latest} is not a whole checkpoint" in result.stdout and "Used instead: " in result.stdout
    names = ("best", "damaged", "latest", "previous")
    assert sorted(path.stem for path in latest.parent.iterdir()) == ["best", "damaged", "latest"]
    for name in names:
        (latest.parent / f"{name}.safetensors").write_bytes(b"x" * 1000)
    code, _, error = in_process(main, "--resume", str(tmp_path / "run"))
    assert code == 2 and "is not a whole checkpoint" in error


def test_runs_get_a_directory_of_their_own(tmp_path: Path) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom launch.train import main\nmain()"
    arguments = ["--env", "catch", "--steps", "100", "--workers", "1", "--seed", "5"]
    main = tmp_path / "main.py"
    main.write_text(f"if __name__ == '__main__':\n    {script.replace(chr(10), chr(10) + '    ')}", encoding="utf-8")

    result = subprocess.run([sys.executable, str(main), *arguments], cwd=tmp_path, capture_output=True, timeout=120)
    assert result.returncode == 0, result.stderr
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("catch__one-step-q__seed5__")
    names = {path.name for path in made.iterdir()}
    assert {"config.toml", "run.json", "metrics.csv", "episodes.csv", "checkpoints"} <= names
    assert {path.stem for path in (made / "checkpoints").iterdir()} == {"latest", "best"}


def test_how_to_go_on_is_said_as_a_shell_understands_it(tmp_path: Path, in_process: InProcess) -> None:
    run_dir, output = tmp_path / "my run", tmp_path / "card.md"
    code, told, _ = in_process(main, "--env", "catch", "--steps", "1", "--workers", "1", "--run-dir", str(run_dir))
    assert code == 0 and f"go on with: python -m launch.async --resume '{run_dir}' --steps 32\n" in told
    assert "no game has a score yet" in told and "nan" not in told
    card._run(card.Options(run_dir, output))
    text = output.read_text(encoding="utf-8")
    assert f"launch.evaluate '{run_dir}'" in text and f'load("{run_dir}")' in text


def test_a_checkpoint_whose_parts_do_not_fit_together_is_refused(tmp_path: Path) -> None:
    result = train(Config(env="catch", workers=1, steps=100), tmp_path / "run", quiet=True)
    path = result.run_dir / checkpoint.LATEST
    description, arrays = storage.unseal(path.read_bytes())
    for name, wrong in {
        "parameters": arrays["parameters"][:-1],
        "target": arrays["target"].astype(np.float64),
        "steps": arrays["steps"][None],
        "random_states": arrays["random_states"][..., :3],
    }.items():
        path.write_bytes(storage.seal(description, arrays | {name: np.ascontiguousarray(wrong)}))
        with pytest.raises(UserError, match=f"not a whole checkpoint .*{name} is "):
            checkpoint.read(path)
    path.write_bytes(storage.seal(description, {k: v for k, v in arrays.items() if k != "target"}))
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint.read(path)
    for wrong_description in ([], {}, description | {"progress": []}, description | {"layout": {"a": [-1]}}):
        path.write_bytes(storage.seal(wrong_description, arrays))
        with pytest.raises(UserError, match="not a whole checkpoint"):
            checkpoint.read(path)


def test_bfloat16_without_instructions_for_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    config = Config(env="catch", workers=1, steps=100, precision="bfloat16")
    with pytest.raises(UserError, match="bfloat16 needs a processor with"):
        train(config, tmp_path / "run", quiet=True)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")  # not known to be missing there
    assert train(config, tmp_path / "run", quiet=True).total_steps >= 100


@pytest.mark.parametrize(
    ("avx512", "amx", "processor", "fast"),
    [
        (False, False, "AMD EPYC 7R13", False),
        (True, False, "AMD EPYC 9R14", True),
        (True, False, "Intel(R) Xeon(R) Processor", False),  # AMX hidden by the hypervisor
        (True, True, "Intel(R) Xeon(R) Processor", True),
    ],
)
def test_auto_is_bfloat16_for_large_networks_where_that_is_faster(
    avx512: bool, amx: bool, processor: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(precision, "processor_name", lambda: processor)
    large, small = (nn.Sequential(nn.Linear(size, 1)) for size in (FEWEST_PARAMETERS - 1, FEWEST_PARAMETERS - 2))
    assert compute_dtype(Config(), large) == (torch.bfloat16 if fast else torch.float32)
    assert compute_dtype(Config(), small) == torch.float32
    assert compute_dtype(Config(), nn.Sequential(large)) == torch.float32  # autograd would round the last layer, too
    assert compute_dtype(Config(precision="float32"), large) == torch.float32
    assert compute_dtype(Config(precision="bfloat16"), small) == torch.bfloat16


def test_resume_auto_starts_from_a_network_only_where_it_starts(
    in_process: InProcess, tmp_path: Path, toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--resume", "auto", "--init-from", str(toy_run), "--env", "catch", "--workers", "1", "--steps")
    code, out, error = in_process(main, *flags, "100")
    assert code == 0 and "--resume auto: a new run" in out and "started from the network of" in out, error
    code, out, error = in_process(main, *flags, "200")
    assert code == 0 and "--resume auto: going on with runs/" in out and "started from" not in out, error
    code, out, error = in_process(main, *flags[:2], *flags[4:], "200")
    assert code == 0 and "--resume auto: a new run" in out, error  # it has not begun with that network
    (tmp_path / "other.safetensors").write_bytes((toy_run / checkpoint.LATEST).read_bytes())
    code, out, error = in_process(main, *flags[:3], "other.safetensors", *flags[4:], "200")
    assert code == 0 and "--resume auto: a new run" in out and "started from the network of other" in out, error


def test_a_run_that_has_lost_its_checkpoints_says_so(tmp_path: Path, toy_run: Path, in_process: InProcess) -> None:
    small = ("--env", "catch", "--workers", "1", "--steps", "100", "--run-dir")
    for run_dir, donor in ((tmp_path / "own", ()), (tmp_path / "other", ("--init-from", str(toy_run)))):
        assert in_process(main, *small, str(run_dir), *donor)[0] == 0
        shutil.rmtree(run_dir / "checkpoints")
    code, out, error = in_process(main, "--resume", str(tmp_path / "own"))
    assert code == 0 and f"{tmp_path / 'own'} has no checkpoint: it begins anew at T = 0" in out, error
    code, out, error = in_process(main, "--resume", str(tmp_path / "other"))
    assert code == 2 and f"began with the network of {toy_run / checkpoint.LATEST}, and its checkpoints are" in error
    assert f"start a new run with --init-from {toy_run / checkpoint.LATEST}." in error


def test_a_run_of_islands_that_goes_on_on_one_machine_says_so(
    tmp_path: Path, toy_run: Path, in_process: InProcess
) -> None:
    run_dir = shutil.copytree(toy_run, tmp_path / "run")
    said = "goes on on this machine alone, where it was spread over islands"
    code, out, error = in_process(main, "--resume", str(run_dir), "--steps", "3100")
    assert code == 0 and said not in out, error
    (run_dir / "cluster.toml").write_text("islands = 2\n", encoding="utf-8")
    code, out, error = in_process(main, "--resume", str(run_dir), "--steps", "3200")
    assert code == 0 and said in out, error


def test_no_lock_is_left_in_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run with a checkpoint"):
        train(Config(env="catch", workers=1), resume=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_goes_on_with_the_chance_of_another_seed(tmp_path: Path, toy_run: Path) -> None:
    played = []
    for seed in (0, 1, 2):
        run_dir = shutil.copytree(toy_run, tmp_path / str(seed))
        config = dataclasses.replace(resuming.settings(str(run_dir)), seed=seed, steps=6000)
        train(config, resume=run_dir, quiet=True)
        played.append([(row["total_steps"], row["score"]) for row in rows(run_dir / "episodes.csv")])
    before = len(rows(toy_run / "episodes.csv"))
    assert played[0][:before] == played[1][:before] == played[2][:before]
    assert len({tuple(games[before:]) for games in played}) == 3


def test_resume_auto_means_the_run_in_the_directory_that_is_given(in_process: InProcess, tmp_path: Path) -> None:
    run_dir = tmp_path / "job"
    flags = ("--resume", "auto", "--run-dir", str(run_dir), "--env", "catch", "--workers", "1", "--steps")
    code, out, error = in_process(main, *flags, "1e2")
    assert code == 0 and "--resume auto: a new run" in out, error
    code, out, error = in_process(main, *flags, "300")
    assert code == 0 and f"--resume auto: going on with {run_dir}" in out, error
    assert checkpoint.read(run_dir).progress.total_steps >= 300
    code, out, error = in_process(main, *flags, "400", "--t-max", "2")
    assert code == 2 and "holds a run of other settings" in error and f"--resume {run_dir} alone" in error
    assert len(run_directory.sessions(run_dir)) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000", 1000), ("10_000", 10_000), ("1e6", 1_000_000), ("2.5e3", 2500), ("999999999999999", 10**15 - 1)],
)
def test_whole_numbers_may_have_an_exponent(text: str, value: int) -> None:
    assert parse(["--steps", text]).steps == value
    assert from_text(f"steps = {text}").steps == value
    assert Config(steps=float(text)).steps == value  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1.5", "nan", "1e400", "many"])
def test_what_is_no_whole_number_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--steps", text])
    assert "expected a whole number such as" in capsys.readouterr().err
    value = text if text == "many" else float(text)
    with pytest.raises(UserError, match="steps must be of type int"):
        Config(steps=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--gamma", "x"], "--gamma: expected a number such as 0.25 or 2.5e-4, got 'x'"),
        (["--lambda", "x"], "--lambda: expected a number such as 0.25 or 2.5e-4, got 'x'"),
        (["--run-dir", ""], "--run-dir: expected a path, got nothing"),
        (["--config="], "--config: expected a path, got nothing"),
        (["--resume", ""], "--resume: expected a path, got nothing"),
    ],
)
def test_what_is_no_number_or_path_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert f"Error parsing {expected} " in capsys.readouterr().err
    assert parse(["--lambda", "None"]).lambda_ is None


def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path: Path) -> None:
    line = shlex.join(command("--env", "catch", "--workers", "1", "--steps", "100", "--run-dir", str(tmp_path / "run")))
    limited = f"ulimit -f 100; exec {line}"
    done = subprocess.run(["bash", "-c", limited], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(
        r"error: cannot reserve .* MiB of shared memory: File too large; .* \(ulimit -a\)\.\n", done.stderr
    )


def test_a_training_is_not_in_vain_if_nobody_reads_its_output_to_the_end(tmp_path: Path) -> None:
    line = shlex.join(command("--env", "catch", "--workers", "1", "--run-dir", str(tmp_path / "run")))
    for steps, reader, lines in [(9000, "head -1", 1), (9999, "true", 0)]:
        piped = f"{line} --resume auto --report-seconds 0.2 --steps {steps} | {reader}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", piped], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, lines, "")
        assert checkpoint.read(tmp_path / "run").progress.total_steps >= steps


def test_a_run_whose_output_finds_a_full_disk_is_finished_all_the_same(tmp_path: Path) -> None:
    flags = ("--env", "catch", "--workers", "1", "--run-dir", str(tmp_path / "run"), "--steps", "3000")
    line = shlex.join(command(*flags))
    done = subprocess.run(["bash", "-c", f"{line} > /dev/full"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "error: cannot write the output: No space left on device.\n"
    assert checkpoint.read(tmp_path / "run").progress.total_steps >= 3000


class Instantly:
    """Workers that have taken all steps when they are first looked after."""

    restarted, incarnations, stepping, pids, any_alive = 0, (0,), 0, MappingProxyType({}), True

    def __init__(self, config: Config, table: SharedTable, *_: object):
        self._config, self._table = config, table

    def watch(self, seconds: float) -> None:
        self._table["steps"][0] = self._config.steps
        self.any_alive = False

    def start(self) -> None: ...

    stop = kill = start


def test_the_end_of_a_run_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(Config(env="catch", workers=1, steps=1234), tmp_path / "run", make_workers=Instantly)
    assert result.ending is Ending.FINISHED and capsys.readouterr().out.count("T 1,234 (100.0%)") == 1


def test_a_resumed_run_says_what_is_learnt_otherwise_and_takes_no_other_place_or_network(
    tmp_path: Path, toy_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(toy_run, tmp_path / "run")
    config = dataclasses.replace(resuming.settings(run_dir), steps=3500, lr=0.25, report_seconds=1.0)
    for other in ({"run_dir": tmp_path / "other"}, {"init_from": toy_run}):
        with pytest.raises(UserError, match="a resumed run goes on in its own directory and with its own network"):
            train(config, resume=run_dir, **other)
    assert not (tmp_path / "other").exists()
    train(config, resume=run_dir)
    assert capsys.readouterr().out.count("goes on with another --lr: 0.25, not 0.5\n") == 1


def test_methods_of_several_steps_say_that_they_have_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "a3c with --t-max 1 learns from single steps; Mnih et al. 2016 have --t-max 5\n"
    for t_max, algorithm in [(1, "a3c"), (2, "a3c"), (1, "one-step-q")]:
        config = Config(env="catch", algorithm=algorithm, workers=1, t_max=t_max, steps=100)
        train(config, tmp_path / f"{algorithm}{t_max}")
        assert (said in capsys.readouterr().out) == ((t_max, algorithm) == (1, "a3c"))


def test_checkpoints_without_their_settings_are_a_run_that_is_not_written_over(tmp_path: Path, toy_run: Path) -> None:
    shutil.copytree(toy_run / "checkpoints", tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match="already holds a run; go on with --resume"):
        train(Config(env="catch", workers=1, steps=100), tmp_path / "run")
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == ["best.safetensors", "latest.safetensors"]


def test_an_empty_name_of_a_run_makes_no_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a run with a checkpoint"):
        train(Config(env="catch", workers=1, steps=100), resume="")
    assert not list(tmp_path.rglob("*.toml")) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("said", "useful", "settings"),
    [
        ("no effect without a target network: --target-interval", {"target": "shared"}, {"target": "none"}),
        ("no effect but for a3c: --entropy-weight", {"algorithm": "a3c"}, {}),
        ("no effect with --exploration ladder: --final-epsilons", {}, {"exploration": "ladder"}),
        (
            "no effect for a3c, which explores by its policy: --final-epsilons",
            {"algorithm": "n-step-q"},
            {"algorithm": "a3c", "t_max": 2},
        ),
        ("no effect without --max-gradient-norm: --clip-gradients", {"max_gradient_norm": 1.0}, {}),
        ("no effect but with --optimizer rmsprop: --rms-epsilon", {}, {"optimizer": "adam", "rms_decay": 0.999}),
        ("no effect with --optimizer rmsprop: --momentum-decay", {"optimizer": "adam", "rms_decay": 0.999}, {}),
        ("no effect without --replay or --epochs: --batch-size", {"replay": 1000}, {}),
        ("no effect but on Atari: --life-loss-ends-return", {"env": "pong"}, {"env": "catch"}),
        ("no effect but on screens: --pixels", {"env": "pong"}, {"env": "catch"}),
    ],
)
def test_settings_that_do_nothing_are_named(said: str, useful: dict[str, Any], settings: dict[str, Any]) -> None:
    values = {"target_interval": 3_000, "entropy_weight": 0.5, "final_epsilons": (0.2, 0.3), "clip_gradients": "layer",
              "rms_epsilon": 0.3, "momentum_decay": 0.7, "batch_size": 77, "life_loss_ends_return": False,
              "pixels": "unit"}  # fmt: skip
    name = said.split("--")[-1].replace("-", "_")
    config = Config(workers=1, **settings | {name: values[name]})
    assert advice(config) == [said]
    assert not advice(
        dataclasses.replace(config, **useful or {"exploration": "drawn", "optimizer": "rmsprop"}, t_max=5)
    )


def test_adam_is_asked_for_its_usual_decay() -> None:
    assert advice(Config(optimizer="adam")) == ["adam with --rms-decay 0.99; 0.999 is usual"]
    assert not advice(Config(optimizer="adam", rms_decay=0.999))


def test_a_target_that_cannot_be_refreshed_as_often_as_asked_for_is_named() -> None:
    """It is looked after once in a segment of one worker."""
    config = Config(workers=32, t_max=5)
    assert advice(config) == ["the target is refreshed once in a segment of all workers, 2,560 steps, at most"]
    assert not advice(dataclasses.replace(config, target_interval=2_560))
    assert not advice(dataclasses.replace(config, algorithm="n-step-q", target="none"))


def test_no_preset_has_a_setting_that_does_nothing() -> None:
    for file in (ROOT / "configs").glob("*.toml"):
        assert not advice(from_toml(file)), file


def test_a_resume_with_nothing_left_to_train_changes_nothing(
    tmp_path: Path, toy_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(toy_run, tmp_path / "run")
    before = {file: file.read_bytes() for file in sorted(run_dir.rglob("*")) if file.is_file()}
    config = dataclasses.replace(resuming.settings(run_dir), steps=1000, lr=0.25)
    result = train(config, resume=run_dir)
    assert result.ending is Ending.FINISHED and result.total_steps == checkpoint.read(toy_run).progress.total_steps
    said = capsys.readouterr().out
    assert f"T = {result.total_steps:,} has reached --steps 1,000: nothing is left to train\n" in said
    assert "another --lr" not in said
    after = {file: file.read_bytes() for file in sorted(run_dir.rglob("*")) if file.is_file()}
    assert not [file for file in before if after.pop(file) != before[file]]
    (events,) = after.values()  # which hide for TensorBoard what came after the checkpoint
    assert struct.pack("<d", 0.5) in events and struct.pack("<d", 0.25) not in events  # learning rates
    train(dataclasses.replace(config, evaluate_every=1000, evaluate_episodes=1), resume=run_dir)
    assert int(rows(run_dir / "evaluations.csv")[-1]["total_steps"]) == result.total_steps
    assert checkpoint.read_network(run_dir, best=True).config.lr == 0.5


def test_a_run_that_goes_on_for_longer_says_what_becomes_of_the_learning_rate(
    tmp_path: Path, toy_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(toy_run, tmp_path / "run")
    saved = checkpoint.read(run_dir)
    done, before = saved.progress.total_steps, saved.config
    config = dataclasses.replace(before, steps=2 * done, report_seconds=1.0)
    assert before.lr_schedule == "linear" and done >= before.steps
    train(config, resume=run_dir)
    said = f"goes on with another --steps: {2 * done:,}, not {before.steps:,}, so the learning rate is "
    assert f"{said}{before.lr / 2:.3g} here, not 0\n" in capsys.readouterr().out
    constant = dataclasses.replace(config, steps=3 * done, lr_schedule="constant")
    assert resuming.changes(dataclasses.replace(constant, steps=done), constant, done) == []


def test_a_prioritised_run_that_goes_on_for_longer_says_what_becomes_of_its_weights() -> None:
    before = Config(replay=1000, prioritized=True, steps=1000, lr_schedule="constant", workers=1)
    (said,) = resuming.changes(before, dataclasses.replace(before, steps=3000), 500)
    assert said == "--steps: 3,000, not 1,000, so the exponent of importance weights is 0.5 here, not 0.7"
    both, now = (dataclasses.replace(before, lr_schedule="linear", lr=0.1, steps=steps) for steps in (1000, 2000))
    (said,) = resuming.changes(both, now, 500)
    assert said.endswith(
        "the learning rate is 0.075 here, not 0.05 and the exponent of importance weights is 0.55 here, not 0.7"
    )
    assert not resuming.changes(before, dataclasses.replace(before, steps=3000, report_seconds=1.0), 0)
    assert resuming.changes(before, dataclasses.replace(before, steps=3000, lr=0.5), 0) == ["--lr: 0.5, not 0.00025"]


def test_a_network_that_saw_other_screens_is_taken_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(env="pong", workers=1, envs_per_worker=1, steps=5, max_episode_frames=100, precision="float32")
    donor = train(dataclasses.replace(config, pixels="unit"), tmp_path / "donor", quiet=True).run_dir
    said = "that network has learnt from screens as by --pixels unit, which this run has otherwise"
    train(config, tmp_path / "other", init_from=donor)
    assert capsys.readouterr().out.count(said) == 1
    train(dataclasses.replace(config, pixels="unit"), tmp_path / "same", init_from=donor)
    assert said not in capsys.readouterr().out


def test_a_quiet_run_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(env="tests.misbehaving:Code1", workers=1)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FAILED
    out, error = capsys.readouterr()
    assert out == "" and "worker 0 ended with exit code 1; given up" in error


def test_what_may_differ_with_resume_auto_is_taken_from_the_command_line(toy_run: Path) -> None:
    own = resuming.settings(toy_run)
    other = dataclasses.replace(
        own, steps=9000, report_seconds=3.0, checkpoint_seconds=4.0, heartbeat_seconds=5.0, evaluate_every=600,
        evaluate_episodes=7, profile=True, pin="none",
    )  # fmt: skip
    assert {name for name in vars(own) if getattr(own, name) != getattr(other, name)} == set(MAY_DIFFER)
    assert resuming.is_run_of(other, toy_run) and resuming.continued(other, toy_run) == other
