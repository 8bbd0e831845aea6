rule summary:
    """Write the study's summary in Markdown: tables that can be quoted."""
    input:
        plan=f"{RESULTS}/plan.json",
        params=f"{RESULTS}/params.json",
        tables=rules.collect.output,
        claims=rules.claims.output,
    output:
        report(
            f"{RESULTS}/summary.md",
            caption="../report/summary.rst",
            category="Summary",
        ),
    log:
        f"{LOGS}/summary.log",
    params:
        study=subpath(input.plan, parent=True),
        code=code_of("cli.summary"),
        captions=lambda wildcards: figure_captions(),
    shell:
        "dstcl summary {params.study} 2> {log}"


rule params:
    """Write the configuration in force beside its results."""
    input:
        unless_known(f"{RESULTS}/params.json", has_params),
    output:
        f"{RESULTS}/params.json",
    log:
        f"{LOGS}/params.log",
    params:
        config=params_json,
    shell:
        "printf '%s\n' {params.config:q} > {output} 2> {log}"


rule report:
    """Write the study as one self-contained page: verdicts, figures, runs, and how it was made."""
    input:
        plan=f"{RESULTS}/plan.json",
        params=rules.params.output,
        tables=rules.collect.output,
        claims=rules.claims.output,
        figures=all_figures("svg"),
        numbers=all_figures("csv"),
        summary=rules.summary.output,
        template=f"{PAGE}/{PAGE_FILES[0]}",
        words=[f"{PAGE}/{name}" for name in PAGE_FILES[1:]],
        recorded=recorded_tables(),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    params:
        study=subpath(input.plan, parent=True),
        code=code_of("cli.report"),
        captions=lambda wildcards: figure_captions(),
        recorded=f"--recorded {shlex.quote(RECORDED)}" if RECORDED else "",
    shell:
        "dstcl report {params.study} --template {input.template:q} {params.recorded} 2> {log}"


rule results_page:
    """Write this study and all recorded ones as one page to browse: curves, verdicts, runs."""
    input:
        plan=f"{RESULTS}/plan.json",
        params=rules.params.output,
        tables=rules.collect.output,
        verdicts=rules.claims.output,
        claims=f"{REFERENCE}/claims.yaml",
        template=f"{PAGE}/{BROWSE_FILES[0]}",
        words=[f"{PAGE}/{name}" for name in BROWSE_FILES[1:]],
        recorded=all_recorded_tables(),
    output:
        f"{RESULTS}/results.html",
    log:
        f"{LOGS}/results_page.log",
    params:
        study=subpath(input.plan, parent=True),
        reference=subpath(input.claims, parent=True),
        code=code_of("cli.results_page"),
    shell:
        "dstcl results-page {params.study} --reference {params.reference:q}"
        " --template {input.template:q} --out {output} 2> {log}"
