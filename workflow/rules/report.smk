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


rule write_report:
    """Write one self-contained page with figures, captions and how each file was made."""
    input:
        figures=all_figures("svg"),
        summary=rules.write_summary.output,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    params:
        config=config_arguments,
    shell:
        "snakemake --snakefile {workflow.main_snakefile:q} --nolock --report {output}"
        " --config {params.config:q} -- figures summary 2> {log}"
