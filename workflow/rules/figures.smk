rule figure:
    """Draw one figure in every format, with the CSV behind it."""
    input:
        summary=f"{RESULTS}/summary.csv",
        tables=rules.collect.output,
        claims=rules.claims.output,
        params=f"{RESULTS}/params.json",
    output:
        report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        multiext(f"{RESULTS}/figures/{{figure}}", ".pdf", ".png", ".csv"),
    log:
        f"{LOGS}/figures/{{figure}}.log",
    params:
        study=subpath(input.summary, parent=True),
        dpi=figure_dpi,
        caption=figure_caption,
        code=figure_code,
    shell:
        "dstcl figure {wildcards.figure} {params.study} --dpi {params.dpi} 2> {log}"
