"""Imports point downwards only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    [
        "config",
        "config_file",
        "checking",
        "types",
        "kernels",
        "rounded",
        "stopwatch",
        "cores",
        "temporary",
        "fork_server",
        "open_files",
        "listening",
        "storage",
        "parent",
        "signals",
        "errors",
        "published",
        "naming",
    ],
    [
        "returns",
        "schedules",
        "networks",
        "optimizers",
        "policies",
        "rewards",
        "seeding",
        "user_code",
        "machine_memory",
    ],
    ["algorithms", "shared", "envs", "layers", "convolutions", "normalization", "chain"],
    ["passes", "precision"],
    ["replay"],
    ["build", "ahead"],
    ["evaluation"],
    ["worker", "checkpoint", "checkpoint_content", "reporting", "run_directory", "meter"],
    ["export"],
    ["plotting"],
    ["traced", "players", "card"],
    ["match"],
    ["preload", "processes", "agent", "health", "evaluations", "lock", "divergence", "recovery"],
    ["supervisor", "viewing", "resuming", "advice"],
    ["training"],
    ["cluster"],
]
WITHIN_A_LAYER = {
    ("config", "types"),
    ("config", "cores"),
    ("config", "checking"),
    ("checking", "types"),
    ("checkpoint", "checkpoint_content"),
    ("fork_server", "open_files"),
    ("fork_server", "temporary"),
    ("fork_server", "config"),
    ("fork_server", "config_file"),
    ("fork_server", "signals"),
    ("fork_server", "types"),
    ("fork_server", "checking"),
    ("config_file", "config"),
    ("config_file", "types"),
    ("config_file", "checking"),
    ("storage", "types"),
    ("storage", "checking"),
    ("naming", "config"),
    ("naming", "config_file"),
    ("chain", "layers"),
    ("chain", "shared"),
    ("chain", "convolutions"),
    ("convolutions", "layers"),
    ("chain", "normalization"),
    ("normalization", "layers"),
    ("networks", "seeding"),
    ("networks", "user_code"),
    ("schedules", "seeding"),
    ("meter", "reporting"),
}
"""(importer, imported) of the same layer."""

MODULES = sorted((ROOT / "async_rl").rglob("*.py"))


def part(module: str) -> str:
    """``async_rl.shared.table`` -> ``shared``; the package itself -> ``""``."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = str(node.module)
            names |= {f"{module}.{a.name}" for a in node.names} if module == "async_rl" else {module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def level(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(ROOT / "async_rl").with_suffix("").parts[0]
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in ("launch", "benchmarks", "tests"), f"{path} imports {name}"
        if top == "async_rl" and own != "__init__":
            other = part(name)
            allowed = own == other or level(other) < level(own) or (own, other) in WITHIN_A_LAYER
            assert allowed, f"async_rl/{own} must not import async_rl/{other}"


def test_reporting_and_environments_know_no_process_and_no_torch() -> None:
    for folder in ("reporting", "envs"):
        for path in (ROOT / "async_rl" / folder).rglob("*.py"):
            for name in imported(path):
                known = f"{name}.".startswith(("multiprocessing.", "torch.", "async_rl.shared."))
                events = path.stem == "tensorboard_log" and f"{name}.".startswith("torch.utils.tensorboard.")
                assert not known or events, (path, name)  # the writer of events comes with torch


def test_only_the_cluster_knows_of_ray() -> None:
    for folder in ("async_rl", "launch", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            tops = {name.split(".")[0] for name in imported(path)}
            known = path.parent.name == "cluster" or path == ROOT / "benchmarks" / "cluster_runs.py"
            assert "ray" not in tops or known, path


def test_every_module_is_somewhere_in_the_layers() -> None:
    parts = {path.relative_to(ROOT / "async_rl").with_suffix("").parts[0] for path in MODULES} - {"__init__"}
    assert parts == {name for names in LAYERS for name in names}


def test_no_command_bears_the_name_of_a_standard_module() -> None:
    import sys

    names = {path.stem for folder in ("launch", "benchmarks") for path in (ROOT / folder).glob("*.py")}
    assert not (names - {"__init__"}) & sys.stdlib_module_names
