# What leaves the project: a manuscript's figures and tables, and an archive for a deposit. Neither is
# part of `all`, and DVC versions neither: both follow from what it does version.


rule manuscript:
    """Draw the figures in the width of a manuscript's text, and write the tables in LaTeX."""
    input:
        plan=f"{RESULTS}/plan.json",
        params=rules.params.output,
        tables=rules.collect.output,
        claims=rules.claims.output,
    output:
        directory(f"{RESULTS}/manuscript"),
    log:
        f"{LOGS}/manuscript.log",
    params:
        study=subpath(input.plan, parent=True),
        width=manuscript_width,
        code=code_of("cli.manuscript", *(f"figures.{name}" for name in FIGURES)),
    shell:
        "dstcl manuscript {params.study} --width {params.width} 2> {log}"


rule archive:
    """Pack the finished study for a deposit: runs, tables, figures, report, metadata, digests."""
    input:
        all_tables(),
        all_figures("svg", "pdf", "png", "csv"),
        plan=f"{RESULTS}/plan.json",
        params=rules.params.output,
        overview=rules.overview.output,
        runs=all_runs(),
        summary=rules.summary.output,
        report=rules.report.output,
        manuscript=rules.manuscript.output,
        citation=CITED,
    output:
        f"{RESULTS}.zip",
    log:
        f"{LOGS}/archive.log",
    params:
        study=subpath(input.plan, parent=True),
        code=code_of("cli.archive"),
    shell:
        "dstcl archive {params.study} --out {output} --citation {input.citation:q} 2> {log}"
