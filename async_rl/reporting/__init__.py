"""Reports of a run on the terminal, as CSV files and as TensorBoard events.

This package turns rows into text. It knows no process and no shared memory: the supervisor measures.
"""

from async_rl.reporting.logs import Logs, open_logs
from async_rl.reporting.outage import Outage
from async_rl.reporting.report import GAME_COLUMNS, EpisodeStatistics, Report
from async_rl.reporting.terminal import Lines, Panel, Quiet, Terminal, terminal

__all__ = [
    "GAME_COLUMNS",
    "EpisodeStatistics",
    "Lines",
    "Logs",
    "Outage",
    "Panel",
    "Quiet",
    "Report",
    "Terminal",
    "open_logs",
    "terminal",
]
