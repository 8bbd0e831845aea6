"""Snakemake that asks a Slurm for the states of jobs every second.

The plugin waits ten seconds longer after each question that brings no news, up to three minutes,
and has no option for it: a test would wait for minutes after the last job has ended.
"""

from __future__ import annotations

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)

if __name__ == "__main__":
    main()
