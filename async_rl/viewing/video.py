"""Pictures to a video file, by the ffmpeg that the package imageio-ffmpeg brings along."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from async_rl import storage
from async_rl.checking import reason
from async_rl.types import UserError

ENDINGS = (".mp4", ".gif")
_GIF_FRAMES_PER_SECOND = 20.0
"""At most: GIFs count hundredths of a second, and browsers slow down those with fewer than two between frames."""


def check_output(path: Path) -> None:
    """Say at once what would go wrong after minutes.

    Raises:
        UserError: an ending that is no video's, a folder that cannot be written, or no ffmpeg.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--output must end in {' or '.join(ENDINGS)}, got {path.name}.")
    ffmpeg()
    storage.require_writable(path)


def ffmpeg() -> str:
    """Path of the ffmpeg program.

    Raises:
        UserError: it is not installed.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError("videos need ffmpeg, which comes with the extra 'video': pip install '.[video]'.") from None


def every(path: Path, frames_per_second: float) -> int:
    """Of how many frames one is to be written: all into an mp4, at most 20 a second into a gif.

    All, because half of Pong's 60 a second would save 12 % of the file, and what games draw in every other frame only,
    such as their shots, would be gone or stand still.
    """
    return 1 if path.suffix.lower() != ".gif" else max(1, int(np.ceil(frames_per_second / _GIF_FRAMES_PER_SECOND)))


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path with the same ending that replaces ``path`` if it was made and the block succeeds."""
    path = Path(os.path.realpath(path))  # links stay, and ffmpeg takes a: for a protocol
    beside = path.with_name(f".{path.stem}.part{path.suffix.lower()}")
    try:
        yield beside
        if beside.exists() and beside.stat().st_size:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def video(path: Path, size: tuple[int, int], frames_per_second: float) -> Iterator[Any]:
    """A function that adds a picture [height, width, 3] uint8 to the file ``path``, which is there after the block.

    An mp4 (H.264, 4:2:0, playable everywhere) is written as it comes. A gif needs one palette for all of its pictures:
    they go into a lossless file first, which is read twice more; memory does not grow with the length.

    Args:
        path: ends in one of ``ENDINGS``.
        size: (width, height), both even.
        frames_per_second: of the pictures that are added.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with _beside(path) as beside:
            if path.suffix.lower() == ".gif":
                lossless = beside.with_suffix(".mkv")
                try:
                    with _encoder(lossless, size, frames_per_second, _LOSSLESS) as add:
                        yield add
                    _to_gif(lossless, beside)
                finally:
                    lossless.unlink(missing_ok=True)
            else:
                with _encoder(beside, size, frames_per_second, _H264) as add:
                    yield add
    except OSError as error:
        raise UserError(f"cannot write {path}: {_last_line(error)}.") from None


_H264 = ("libx264", "yuv420p", ["-preset", "veryfast", "-crf", "20", "-tune", "animation", "-movflags", "+faststart"])
_LOSSLESS = ("libx264rgb", "rgb24", ["-preset", "ultrafast", "-crf", "0"])


@contextlib.contextmanager
def _encoder(
    path: Path, size: tuple[int, int], frames_per_second: float, codec: tuple[str, str, list[str]]
) -> Iterator[Any]:
    name, pixels, options = codec
    rate = Fraction(frames_per_second).limit_denominator()
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(rate), "-i", "-"]
    line = [ffmpeg(), "-y", "-v", "error", *pictures, "-c:v", name, "-pix_fmt", pixels, *options, str(path)]
    with tempfile.TemporaryFile() as said:
        # In a session of its own, lest a Ctrl-C of the terminal's end it before this program knows of it.
        process = subprocess.Popen(line, stdin=subprocess.PIPE, stderr=said, start_new_session=True)
        assert process.stdin is not None
        write = process.stdin.write
        try:
            yield lambda picture: write(np.ascontiguousarray(picture).data)
            process.stdin.close()
            process.wait()
        except BrokenPipeError:  # it has ended, and said why
            process.wait()
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()
        said.seek(0)
        if process.returncode:
            raise OSError(said.read().decode(errors="replace"))


def _to_gif(lossless: Path, gif: Path) -> None:
    palette = lossless.with_suffix(".palette.png")
    quiet = [ffmpeg(), "-y", "-v", "error", "-i", str(lossless)]
    make = [*quiet, "-vf", "palettegen=stats_mode=full", "-update", "1", "-frames:v", "1", str(palette)]
    use = [*quiet, "-i", str(palette), "-lavfi", "paletteuse=dither=none:diff_mode=rectangle", str(gif)]
    try:
        for command in (make, use):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise OSError(done.stderr)
    finally:
        palette.unlink(missing_ok=True)


def _last_line(error: OSError) -> str:
    """What ffmpeg said last, without its part that said so, or the system's words."""
    lines = [line.strip() for line in reason(error).splitlines() if line.strip()]
    return re.sub(r"^(\[[^]]*\] *)+", "", lines[-1] if lines else "ffmpeg failed").rstrip(".")
