rule split:
    """Write which classes form which task, for one class order."""
    input:
        unless_as_now(split_again),
        data="data/prepared/{dataset}-{size}px.safetensors",
    output:
        "data/tasks/{dataset}-{size}px-{tasks}tasks/{order}.json",
    log:
        "logs/tasks/{dataset}-{size}px-{tasks}tasks-{order}.log",
    # No digest of the code: beside each file is written which code made it.
    shell:
        "dstcl data split {wildcards.dataset} --data {input.data} --tasks {wildcards.tasks}"
        " --order {wildcards.order} --out {output} 2> {log}"


rule plan:
    """Write the list of runs that params.yaml means."""
    input:
        unless_known(f"{RESULTS}/plan.json", has_plan),
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{LOGS}/plan.log",
    params:
        study=study_json,
        code=code_of("cli.config.plan"),
    shell:
        "dstcl config plan --values {params.study:q} --out {output} 2> {log}"
