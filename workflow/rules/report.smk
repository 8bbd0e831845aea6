rule write_summary:
    """Write the study's summary in Markdown: tables that can be quoted."""
    input:
        plan=f"{RESULTS}/plan.json",
        tables=rules.collect_runs.output,
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
    shell:
        "dstcl summary {params.study} 2> {log}"


rule write_params:
    """Write the configuration in force beside its results."""
    output:
        f"{RESULTS}/params.json",
    log:
        f"{LOGS}/params.log",
    params:
        config=params_json,
    shell:
        "printf '%s\n' {params.config:q} > {output} 2> {log}"


rule write_report:
    """Write one self-contained page with figures, captions and how each file was made."""
    input:
        params=rules.write_params.output,
        figures=all_figures("svg"),
        summary=rules.write_summary.output,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    # No parameter: where the rules lie differs from clone to clone and changes nothing.
    resources:
        snakefile=workflow.main_snakefile,
    shell:
        "snakemake --snakefile {resources.snakefile:q} --nolock --report {output}"
        " --configfile {input.params} -- figures summary 2> {log}"
