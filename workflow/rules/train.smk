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
    # What a run needs; where it gets it from (cards, partitions, accounts) is up to a profile.
    resources:
        gpu=0,
        gpu_slots="",
        mem_mb=run_memory,
        runtime=run_minutes,
    params:
        run=run_json,
        code=code_of("cli.train"),
        out=subpath(output.metrics, parent=True),
    shell:
        "dstcl train --run {params.run:q} --data {input.data} --tasks {input.tasks}"
        " --out {params.out} --threads {threads} --gpus {resources.gpu}"
        " --gpu-slots={resources.gpu_slots} 2> {log}"
