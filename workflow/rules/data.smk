rule prepare:
    """Decode a data set once into one file of uint8 images, labels and the split."""
    input:
        unless_as_now(prepared_again),
        say_if_it_cannot_be_made,
    output:
        "data/prepared/{dataset}-{size}px.safetensors",
    log:
        "logs/data/{dataset}-{size}px.log",
    benchmark:
        "logs/data/{dataset}-{size}px.benchmark.tsv"
    threads: 2
    # No digest of the code: beside each file is written which code made it.
    params:
        own=own_dataset_json,
        archive=archive_state,
    shell:
        "dstcl data prepare {wildcards.dataset} --image-size {wildcards.size}"
        " --own {params.own:q} --workers {threads} --out {output} 2> {log}"


rule sheet:
    """Some images of every class of a prepared data set, to look at; made when asked for."""
    input:
        "data/prepared/{dataset}-{size}px.safetensors",
    output:
        "data/sheets/{dataset}-{size}px.png",
    log:
        "logs/data/{dataset}-{size}px-sheet.log",
    params:
        code=code_of("cli.data.sheet"),
    shell:
        "dstcl data sheet {wildcards.dataset} --data {input} --out {output} 2> {log}"
