#!/usr/bin/env bash
# State of one PBS job in Snakemake's words. A job that PBS no longer knows has failed as far as
# anybody can tell; a server that does not answer says nothing about the job.
said=$(qstat -x -f "$1" 2>&1)
code=$?
if grep -qi "unknown job" <<<"$said"; then
    echo failed
elif [ "$code" -ne 0 ]; then
    echo running
elif grep -qE "job_state = [FCX]" <<<"$said"; then
    grep -qiE "exit_status = 0$" <<<"$said" && echo success || echo failed
else
    echo running
fi
