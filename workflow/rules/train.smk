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
    threads: 1
    # What a run needs; where it gets it from (cards, partitions, accounts) is up to a profile.
    resources:
        gpu=0,
        gpu_slots="",
        mem_mb=run_memory,
        runtime=run_minutes,
        test_batch=run_test_batch,
    # No digest of the code: every run keeps its own, see `finished_of_other_code_or_data`.
    params:
        run=run_json,
        out=subpath(output.metrics, parent=True),
    shell:
        "dstcl train --run {params.run:q} --data {input.data} --tasks {input.tasks}"
        " --out {params.out} --threads {threads} --gpus {resources.gpu}"
        " --test-batch-size {resources.test_batch}"
        " --gpu-slots={resources.gpu_slots} 2> {log}"
