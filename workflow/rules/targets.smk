# Seconds each, or a writer that must be one (mlflow.db): on a cluster they run where Snakemake does.
localrules:
    plan,
    split,
    collect,
    claims,
    overview,
    figure,
    summary,
    params,
    report,
    results_page,
    manuscript,
    archive,
    track,


# Targets that stand for many jobs: `snakemake --cores all train`, and so on. Rules without wildcards
# are targets by themselves: collect, claims, overview, summary, report, manuscript, archive,
# track, plan.
localrules:
    all,
    data,
    tasks,
    train,
    evaluate,
    figures,
    paper_figures,


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
        rules.collect.output,
        rules.claims.output,
        rules.overview.output,


rule figures:
    """All figures."""
    input:
        all_figures("svg"),


rule paper_figures:
    """All figures and tables for a manuscript."""
    input:
        rules.manuscript.output,
