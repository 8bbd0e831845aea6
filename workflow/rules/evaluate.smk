rule collect_runs:
    """Check every run against the study and gather all runs into tables."""
    input:
        plan=f"{RESULTS}/plan.json",
        runs=all_runs(),
    output:
        expand("{results}/{table}.csv", results=RESULTS, table=TABLES),
    log:
        f"{LOGS}/collect.log",
    params:
        study=subpath(input.plan, parent=True),
    shell:
        "dstcl collect {params.study} 2> {log}"
