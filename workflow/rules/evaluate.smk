rule collect:
    """Check every run against the study and gather all runs into tables."""
    input:
        plan=f"{RESULTS}/plan.json",
        runs=all_runs(),
        unknown=unless_known(f"{RESULTS}/summary.csv"),
    output:
        expand("{results}/{table}.csv", results=RESULTS, table=TABLES),
    log:
        f"{LOGS}/collect.log",
    params:
        study=subpath(input.plan, parent=True),
        code=code_of("cli.collect"),
    shell:
        "dstcl collect {params.study} 2> {log}"


rule claims:
    """Test what the paper says on this study, and put the paper's own numbers beside ours."""
    input:
        tables=rules.collect.output,
        plan=f"{RESULTS}/plan.json",
        claims=f"{REFERENCE}/claims.yaml",
        paper=multiext(f"{REFERENCE}/paper/", "curves.csv", "tables.csv"),
    output:
        expand("{results}/{table}.csv", results=RESULTS, table=OF_CLAIMS),
    log:
        f"{LOGS}/claims.log",
    params:
        study=subpath(input.plan, parent=True),
        reference=subpath(input.claims, parent=True),
        code=code_of("cli.claims"),
    shell:
        "dstcl claims {params.study} --reference {params.reference:q} 2> {log}"


rule overview:
    """Write the few numbers that `dvc metrics diff` compares between revisions."""
    input:
        summary=f"{RESULTS}/summary.csv",
        cells=f"{RESULTS}/cells.csv",
    output:
        f"{RESULTS}/overview.json",
    log:
        f"{LOGS}/overview.log",
    params:
        study=subpath(input.summary, parent=True),
        code=code_of("cli.overview"),
    shell:
        "dstcl overview {params.study} 2> {log}"
