"""Checkpoints on disks that fail, fill up or go away, and under kills at any instant."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, mounted, rows, wait_for

from async_rl import Config, UserError, checkpoint, load, recovery, storage, train
from async_rl.build import make_table
from async_rl.checkpoint_content import decode
from async_rl.divergence import Divergence
from async_rl.envs import describe
from async_rl.networks import make_network
from async_rl.shared import layout
from async_rl.supervisor import Ending

pytestmark = pytest.mark.faults

CONFIG = Config(env="catch", workers=2, seed=7)


def content(steps: int) -> bytes:
    """A checkpoint of the start of a run, as if it had made that many steps."""
    spec = describe(CONFIG)
    table = make_table(CONFIG, spec)
    table["steps"][0] = steps
    shapes, progress = layout(make_network(CONFIG, spec)), checkpoint.Progress(total_steps=steps)
    return checkpoint.encode(table, CONFIG, spec, shapes, progress)


def save(run_dir: Path, steps: int, first: Path | None = None) -> None:
    checkpoint.save(run_dir / checkpoint.LATEST, content(steps), first)


def steps_of(path: Path) -> int:
    return checkpoint.read(path).progress.total_steps


def test_results_go_through_links_and_never_take_the_place_of_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    storage.write_result(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    storage.write_result(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through" and (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_a_result_leaves_the_files_beside_it_alone(tmp_path: Path) -> None:
    (tmp_path / "curves.png.tmp").write_bytes(b"mine")
    storage.write_result(tmp_path / "curves.png", b"picture")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "curves.png": b"picture",
        "curves.png.tmp": b"mine",
    }


def test_networks_that_no_memory_holds_or_that_cannot_play_are_refused_in_one_sentence(
    tmp_path: Path, toy_run: Path
) -> None:
    description, arrays = storage.unseal((toy_run / checkpoint.LATEST).read_bytes())
    arrays = {"parameters": arrays["parameters"].copy()}
    path = tmp_path / "network.safetensors"
    for number in (np.nan, np.inf):
        arrays["parameters"][3] = number
        path.write_bytes(storage.seal(description, arrays))
        with pytest.raises(UserError, match="holds parameters that are no finite numbers"):
            load(path)
    arrays["parameters"][3] = 0.5
    large = json.loads(json.dumps(description))
    large["spec"]["observation_shape"] = [10**13]
    path.write_bytes(storage.seal(large, arrays))
    with pytest.raises(UserError, match="no valid observation_shape"):
        load(path)


def test_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for steps in (10, 20, 30):
        save(tmp_path, steps)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "latest.safetensors",
        "previous.safetensors",
    }
    assert (steps_of(tmp_path), steps_of(tmp_path / checkpoint.PREVIOUS)) == (30, 20)
    assert checkpoint.read(tmp_path).passed_over == ()


def damaged(content: bytes) -> list[bytes]:
    """Copies with one byte changed: each of the header, padding included, and many others; and cut anywhere."""
    generator = random.Random(0)
    end_of_header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(end_of_header), *(generator.randrange(end_of_header, len(content)) for _ in range(200)), -1]
    copies = []
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << generator.randrange(8)
        copies.append(bytes(changed))
    lengths = [0, 1, 7, 8, 9, end_of_header - 1, end_of_header, len(content) - 1]
    lengths += [generator.randrange(len(content)) for _ in range(100)]
    return copies + [content[:length] for length in lengths] + [content + b"\0"]


def test_a_checkpoint_with_any_byte_changed_or_cut_is_refused_and_the_one_before_is_used(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    latest = tmp_path / checkpoint.LATEST
    copies = damaged(latest.read_bytes())
    assert len(copies) > 2000
    for number, content in enumerate(copies):
        with pytest.raises(UserError) as error:
            decode(latest, content)
        assert str(latest) in str(error.value) and "\n" not in str(error.value)
        if number % 50 == 0:
            latest.write_bytes(content)
            saved = checkpoint.read(tmp_path)
            assert saved.progress.total_steps == 10
            assert str(latest) in saved.passed_over[0] and str(saved.path) in saved.passed_over[0]
    with pytest.warns(RuntimeWarning, match=r"latest\.safetensors is not .* Used instead: .*previous\.safetensors"):
        assert load(tmp_path).total_steps == 10


def test_what_the_latest_says_of_the_best_is_true_at_any_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best one is written first."""
    best, write = tmp_path / checkpoint.BEST, storage.write

    def killed_between(path: Path, *arguments: object) -> None:
        if path.name == checkpoint.LATEST.name:
            raise KeyboardInterrupt
        write(path, *arguments)  # type: ignore[arg-type]

    save(tmp_path, 10, best)
    monkeypatch.setattr(storage, "write", killed_between)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 20, best)
    assert (steps_of(best), steps_of(tmp_path / checkpoint.LATEST)) == (20, 10)


def test_best_is_the_last_resort_and_without_it_the_run_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 10, tmp_path / checkpoint.BEST)
    for steps in (20, 30):
        save(tmp_path, steps)
    for name in (checkpoint.LATEST, checkpoint.PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    saved = checkpoint.read(tmp_path)
    assert saved.progress.total_steps == 10 and len(saved.passed_over) == 2
    (tmp_path / checkpoint.BEST).unlink()
    with pytest.raises(UserError, match=r"latest\.safetensors is not a whole .* Nor is .* previous\.safetensors"):
        checkpoint.read(tmp_path)


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_whole_one_before(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = Config(env="catch", workers=1, steps=1000)
    train(config, run_dir, quiet=True)
    save(run_dir, 1000)
    (run_dir / checkpoint.LATEST).write_bytes(b"torn")
    assert train(config, resume=run_dir, quiet=True).ending is Ending.FINISHED
    assert steps_of(run_dir / checkpoint.LATEST) >= 1000 and steps_of(run_dir / checkpoint.PREVIOUS) >= 1000


KILLED = """
import os, signal, sys
from pathlib import Path
from async_rl import storage

latest, previous = (Path(sys.argv[1]) / name for name in ("latest", "previous"))

def survives(limit, generation):
    "Whether writing one generation takes fewer than `limit` operations on files; else it is killed before that one."
    if (child := os.fork()) == 0:
        left = limit
        def count(event, arguments):
            nonlocal left
            if event.startswith(("os.", "open", "shutil.")):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        storage.write(latest, storage.seal({"generation": generation}, {}), previous)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0

def generation(path):
    return storage.unseal(path.read_bytes())[0]["generation"]

for number in (0, 1):
    storage.write(latest, storage.seal({"generation": number}, {}), previous)
limit, kills = 0, 0
while True:
    before = generation(latest), generation(previous)
    survived = survives(limit, before[0] + 1)
    now, old = generation(latest), generation(previous)
    assert now in (before[0], before[0] + 1) and old < now and old >= before[1], (limit, before, now, old)
    assert survived <= (now == before[0] + 1 and old == before[0])
    if survived:
        break
    kills, limit = kills + 1, limit + 1
print(kills, "kills", sorted(os.listdir(sys.argv[1])))
"""


def test_a_kill_before_any_operation_on_files_leaves_two_whole_generations(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills, rest = done.stdout.split(maxsplit=1)
    assert int(kills) >= 5 and rest.strip() == "kills ['latest', 'previous']"


def test_without_links_the_previous_one_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save(tmp_path, 10)
    save(tmp_path, 20)
    assert (steps_of(tmp_path), steps_of(tmp_path / checkpoint.PREVIOUS)) == (20, 10)


FULL = """
import sys
from pathlib import Path
from async_rl import Config, checkpoint, train
from async_rl.reporting import terminal

run_dir, fill = Path(sys.argv[1]) / "run", Path(sys.argv[1]) / "fill"
said = []
import async_rl.reporting, async_rl.checkpoint as module
class Ear(async_rl.reporting.Quiet):
    def say(self, message):
        said.append(message)
async_rl.reporting.Quiet = Ear
save, count = module.save, 0
def saving(path, *rest):
    "The disk is full while the second and third checkpoint are written, and before the others are not."
    global count
    count += 1
    if count == 2:
        try:
            with fill.open("wb") as file:
                while True:
                    file.write(b"x" * 1024)
                    file.flush()
        except OSError:
            pass
    elif count == 4:
        fill.unlink(missing_ok=True)
    save(path, *rest)
module.save = saving
config = Config(env="catch", workers=1, steps=10**9, checkpoint_seconds=1, report_seconds=0.3)
import os, signal, threading, time
def stop():
    while count < 5:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
if __name__ == "__main__":
    threading.Thread(target=stop, daemon=True).start()
    train(config, run_dir, quiet=True)
    print("\\n".join(said))
    for name in (checkpoint.LATEST, checkpoint.PREVIOUS):
        print(checkpoint.read(run_dir / name).progress.total_steps)
    import csv
    steps = [int(row["total_steps"]) for row in csv.DictReader((run_dir / "metrics.csv").open())]
    assert steps == sorted(set(steps)) and len(steps) > 2
"""


def test_a_full_disk_is_said_once_and_the_end_of_it_too(tmp_path: Path, may_mount: None) -> None:
    program, disk = tmp_path / "full.py", tmp_path / "disk"
    program.write_text(FULL)
    disk.mkdir()
    done = subprocess.run(mounted(disk, "8m", sys.executable, str(program), str(disk)), cwd=ROOT, capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    about_checkpoints = [line for line in done.stdout.splitlines() if "checkpoints" in line]
    assert about_checkpoints == [
        "cannot write checkpoints (No space left on device); training goes on, the last one is kept",
        "checkpoints can be written again",
    ]
    for log in ("metrics.csv", "episodes.csv", "TensorBoard events"):  # a row may fit into the file's last page
        failures = done.stdout.count(f"cannot write {log}")
        assert failures == done.stdout.count(f"{log} can be written again") <= 1, done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("survives_sigterm")
def test_a_run_directory_that_goes_away_is_not_made_anew_and_is_used_again_when_it_comes_back(tmp_path: Path) -> None:
    run_dir, away = tmp_path / "run", tmp_path / "away"
    config = Config(env="catch", workers=1, steps=10**9, checkpoint_seconds=1, report_seconds=0.2)
    taken: list[int] = []

    def take_away_and_bring_back() -> None:
        try:
            wait_for((run_dir / checkpoint.LATEST).exists, "a checkpoint")
            run_dir.rename(away)
            taken.append(steps_of(away))
            time.sleep(2.5)  # at least two checkpoints are due
            taken.append(run_dir.exists())
            away.rename(run_dir)
            wait_for(lambda: steps_of(run_dir) > taken[0], "a checkpoint in the directory that has come back")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=take_away_and_bring_back)
    thread.start()
    try:
        result = train(config, run_dir, quiet=True)
    finally:
        thread.join()
    assert result.ending is Ending.TERMINATED and result.resumable
    assert steps_of(run_dir) == result.total_steps > taken[0] and not taken[1]


def test_a_disk_without_room_leaves_the_checkpoint_as_it_was(tmp_path: Path) -> None:
    import resource

    save(tmp_path, 10)
    before, second = (tmp_path / checkpoint.LATEST).read_bytes(), content(20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # Python ignores the signal and gets EFBIG
    try:
        with pytest.raises(OSError, match="too large"):
            checkpoint.save(tmp_path / checkpoint.LATEST, second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / checkpoint.LATEST).read_bytes() == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["latest.safetensors"]


def test_files_of_other_kinds_get_a_sentence_of_their_own(tmp_path: Path) -> None:
    save(tmp_path, 10)
    path = tmp_path / checkpoint.LATEST
    description, arrays = storage.unseal(path.read_bytes())
    unsealed = {"async_rl": json.dumps(description)}
    for metadata in (unsealed, {"async_rl": "{}"}, {"other": "{}"}):
        path.write_bytes(safetensors.numpy.save(arrays, metadata))
        with pytest.raises(UserError, match="is not a whole checkpoint"):
            checkpoint.read(path)
    path.write_bytes(storage.seal(description | {"format": 3}, arrays))
    with pytest.raises(UserError, match="has format 3, this version reads format 2"):
        checkpoint.read(path)
    path.write_bytes(storage.seal(description, {"parameters": arrays["parameters"]}))
    with pytest.raises(UserError, match="holds only the network"):
        checkpoint.read(path)
    assert checkpoint.read_network(path).progress.total_steps == 10
    path.write_bytes(storage.seal({"text": '"sha256":"' + "0" * 64}, {"a": np.zeros(1)}))
    assert storage.unseal(path.read_bytes())[0]["text"].endswith("0" * 64)


def test_a_run_goes_back_to_the_newest_finite_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 10, tmp_path / checkpoint.BEST)
    for steps in (20, 30):
        save(tmp_path, steps)
    saved = recovery.last_finite(tmp_path)
    assert saved is not None and saved.progress.total_steps == 30


def test_a_checkpoint_is_of_the_steps_that_it_counts(tmp_path: Path) -> None:
    """Workers have gone on between the look at T and the copy of the table."""
    config = Config(env="catch", workers=2)
    spec = describe(config)
    table = make_table(config, spec)
    table["steps"][:] = (100, 230)
    content = checkpoint.encode(table, config, spec, layout(make_network(config, spec)), checkpoint.Progress(300))
    assert decode(tmp_path, content).progress.total_steps == 330


def test_counts_and_statistics_come_back_with_a_checkpoint(tmp_path: Path) -> None:
    """Adam's bias correction goes by the updates, the target's next refresh by those before; and its statistics."""
    config = Config(env="catch", workers=3, optimizer="adam", target_interval=500)
    spec = describe(config)
    shapes, table = layout(make_network(config, spec)), make_table(config, spec)
    for name, counts in (("steps", (3000, 16, 2000)), ("updates", (70, 9, 1)), ("dropped", (1, 0, 2))):
        table[name][:] = counts
    for number, name in enumerate(("mean", "mean_square")):
        table[name][:] = number + np.linspace(0, 1, len(table[name]))
    (tmp_path / "run").mkdir()
    content = checkpoint.encode(table, config, spec, shapes, checkpoint.Progress(5016))
    checkpoint.save(tmp_path / "run" / checkpoint.LATEST, content)
    for workers in (1, 4):
        other = replace(config, workers=workers)
        fresh = make_table(other, spec)
        checkpoint.restore(checkpoint.read(tmp_path / "run"), fresh, other, spec, shapes)
        assert [int(fresh[name].sum()) for name in ("steps", "updates", "dropped")] == [5016, 80, 3]
        assert fresh["target_refreshes"][0] == 10
        for name in ("mean", "mean_square"):
            np.testing.assert_array_equal(fresh[name], table[name])


def test_a_run_that_gets_a_target_begins_with_the_network_it_has(tmp_path: Path) -> None:
    """Without a target theta^- stays at the initial parameters."""
    without = Config(env="catch", workers=1, steps=3000, target="none")
    run_dir = train(without, tmp_path / "run", quiet=True).run_dir
    saved, spec = checkpoint.read(run_dir), describe(without)
    assert not np.array_equal(saved.arrays["target"], saved.arrays["parameters"])
    for target, row in (("shared", "parameters"), ("none", "target")):
        config = replace(without, target=target)
        table = make_table(config, spec)
        checkpoint.restore(saved, table, config, spec, layout(make_network(config, spec)))
        np.testing.assert_array_equal(table["target"], saved.arrays[row])


def test_a_resumed_run_knows_the_best_score_from_the_best_checkpoint(tmp_path: Path) -> None:
    """A kill came between the two files, so the latest is older."""
    config = Config(env="catch", workers=1, steps=5000)
    run_dir = train(config, tmp_path / "run", quiet=True).run_dir
    latest, spec = checkpoint.read(run_dir), describe(config)
    table, shapes = make_table(config, spec), layout(make_network(config, spec))
    best = checkpoint.encode(table, config, spec, shapes, replace(latest.progress, best_score=9.0))
    (run_dir / checkpoint.BEST).write_bytes(best)
    train(replace(config, steps=6000), resume=run_dir, quiet=True)
    assert checkpoint.read(run_dir).progress.best_score == 9.0
    assert (run_dir / checkpoint.BEST).read_bytes() == best


def test_games_of_a_checkpoint_are_on_record_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, missing = checkpoint.save, list[int]()

    def saving(path: Path, content: bytes, first: Path | None = None) -> None:
        total_steps = decode(path, content).progress.total_steps
        games = rows(tmp_path / "run" / "episodes.csv")
        missing.append(total_steps - sum(int(g["length"]) for g in games if int(g["total_steps"]) <= total_steps))
        save(path, content, first)
        if len(missing) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(checkpoint, "save", saving)
    monkeypatch.setattr(Divergence, "look", lambda self: time.sleep(0.2))  # before a checkpoint; games go on meanwhile
    config = Config(env="catch", workers=1, envs_per_worker=1, t_max=64, steps=10**9, checkpoint_seconds=1)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.TERMINATED
    assert len(missing) == 3 and all(0 <= steps < 9 for steps in missing)  # of the game that is running


@pytest.mark.parametrize("name", ["config.toml", "run.json", "episodes.csv", "checkpoints/latest.safetensors"])
def test_what_a_run_keeps_itself_is_not_overwritten_with_results(name: str, tmp_path: Path) -> None:
    run_dir, link = tmp_path / "run", tmp_path / "link"
    for folder in (run_dir, run_dir / "checkpoints", tmp_path / "other"):
        folder.mkdir()
    for own in ("config.toml", name):
        (run_dir / own).write_text("kept")
    link.symlink_to(run_dir / name)
    for path in (run_dir / name, link):
        for write in (storage.require_writable, lambda path: storage.write_result(path, b"new")):
            with pytest.raises(UserError, match=f"is what the run in {run_dir} keeps itself"):
                write(path)
    assert (run_dir / name).read_text() == "kept"
    storage.write_result(run_dir / "points.csv", b"new")
    storage.write_result(tmp_path / "other" / Path(name).name, b"new")  # there is no run


@pytest.mark.parametrize(("workers", "streams"), [(2, 3), (1, 2), (4, 5)])
def test_random_states_come_back_with_a_checkpoint_for_the_streams_that_there_are(
    tmp_path: Path, workers: int, streams: int
) -> None:
    config = Config(env="catch", workers=2, envs_per_worker=3)
    spec = describe(config)
    shapes, table = layout(make_network(config, spec)), make_table(config, spec)
    states = table["random_states"]
    states[:] = np.arange(states.size).reshape(states.shape)
    states[..., -2] = 0  # whether half of a number is left, which has to be 0 or 1
    (tmp_path / "run").mkdir()
    content = checkpoint.encode(table, config, spec, shapes, checkpoint.Progress())
    checkpoint.save(tmp_path / "run" / checkpoint.LATEST, content)
    other = replace(config, workers=workers, envs_per_worker=streams)
    fresh = make_table(other, spec)
    checkpoint.restore(checkpoint.read(tmp_path / "run"), fresh, other, spec, shapes)
    found = fresh["random_states"]
    np.testing.assert_array_equal(found[:2, :3], states[:workers, :streams])
    assert (found[2:] == 2**64 - 1).all() and (found[:, 3:] == 2**64 - 1).all()  # they draw their own
    again = make_table(replace(other, seed=1), spec)
    checkpoint.restore(checkpoint.read(tmp_path / "run"), again, replace(other, seed=1), spec, shapes)
    assert (again["random_states"] == 2**64 - 1).all()


@pytest.mark.skipif(sys.platform != "linux", reason="open files are told by /proc")
def test_what_is_written_is_on_the_disk_before_it_takes_its_place_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as a test can know without a power failure."""
    done, sync, replace_file = list[str](), os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        sync(descriptor)

    def replacing(path: Path, target: Path) -> Path:
        done.append(f"replace {target.name}")
        return replace_file(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    storage.write(tmp_path / "latest", b"content")
    assert done == ["sync latest.tmp", "replace latest", f"sync {tmp_path.name}"]
