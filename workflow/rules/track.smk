rule sync_mlflow:
    """Send every run to MLflow; the only writer of mlflow.db, which can be rebuilt at any time."""
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
        code=code_of("results_track"),
    shell:
        "dstcl track {params.study} 2> {log}"
