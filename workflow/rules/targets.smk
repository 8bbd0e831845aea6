# Seconds each, or a writer that must be one (mlflow.db): on a cluster they run where Snakemake does.
localrules:
    plan_study,
    split_tasks,
    collect_runs,
    test_claims,
    write_overview,
    draw_figure,
    write_summary,
    write_params,
    write_report,
    sync_mlflow,


# One target a stage: `snakemake --cores all train`, and so on.
localrules:
    all,
    data,
    tasks,
    train,
    evaluate,
    figures,
    summary,
    track,
    report,


rule data:
    """Prepared data sets."""
    input:
        all_prepared_data,


rule tasks:
    """Task splits."""
    input:
        all_task_splits,


rule train:
    """All runs."""
    input:
        all_runs(),


rule evaluate:
    """Tables over all runs."""
    input:
        rules.collect_runs.output,
        rules.test_claims.output,
        rules.write_overview.output,


rule figures:
    """All figures."""
    input:
        all_figures("svg"),


rule summary:
    """Summary in Markdown."""
    input:
        rules.write_summary.output,


rule track:
    """Runs in MLflow."""
    input:
        rules.sync_mlflow.output,


rule report:
    """One self-contained page."""
    input:
        rules.write_report.output,
