rule train_run:
    """Train one configuration with one seed on all tasks, one after the other."""
    input:
        data=prepared_data,
        tasks=task_split,
    output:
        **{
            kind: f"{RESULTS}/runs/{{folder}}/{name}"
            for kind, name in RESULT_FILES.items()
        },
    log:
        f"{LOGS}/train/{{folder}}.log",
    benchmark:
        f"{LOGS}/train/{{folder}}.benchmark.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
    params:
        run=run_json,
        code=code_of("train_one"),
        out=subpath(output.metrics, parent=True),
    shell:
        "dstcl train --run {params.run:q} --data {input.data} --tasks {input.tasks}"
        " --out {params.out} --threads {threads} 2> {log}"
