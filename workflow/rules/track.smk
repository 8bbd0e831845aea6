from pathlib import Path

from dstcl.tracking.study import failures_so_far


rule track:
    """Send every run to MLflow; the only writer of mlflow.db, which can be rebuilt at any time.

    A tracking server that does not answer is no failure of the study: the output says so, and the
    next call tries again, because then `failures` has changed."""
    input:
        plan=f"{RESULTS}/plan.json",
        runs=all_runs(),
        figures=all_figures("png"),
    output:
        f"{RESULTS}/mlflow.json",
    log:
        f"{LOGS}/track.log",
    params:
        study=subpath(input.plan, parent=True),
        code=code_of("cli.track"),
        failures=lambda wildcards: failures_so_far(Path(RESULTS, "mlflow.json")),
    shell:
        "dstcl track {params.study} --record {output} --failures {params.failures} 2> {log}"
