from pathlib import Path

from dstcl.data.raw import source_state


def own_dataset_json(wildcards):
    """The entry of a data set of the user's own in params.yaml, or nothing."""
    own = PARAMS.datasets.get(wildcards.dataset)
    return json.dumps(own.model_dump(), sort_keys=True) if own else "{}"


def archive_state(wildcards):
    """A fingerprint of the archive that is found, so that another one is noticed.

    Not an input: prepared data that were pulled without their archive are complete, and must not be
    made again because an input is gone.
    """
    prepared = f"data/prepared/{wildcards.dataset}-{wildcards.size}px.safetensors"
    own = wildcards.dataset in PARAMS.datasets
    info = PARAMS.dataset_info(wildcards.dataset) if own else None
    return source_state(wildcards.dataset, Path(prepared), info)


rule prepare_dataset:
    """Decode a data set once into one file of uint8 images, labels and the split."""
    output:
        "data/prepared/{dataset}-{size}px.safetensors",
    log:
        "logs/data/{dataset}-{size}px.log",
    benchmark:
        "logs/data/{dataset}-{size}px.benchmark.tsv"
    threads: 2
    params:
        own=own_dataset_json,
        archive=archive_state,
        code=code_of("data:data_prepare"),
    shell:
        "dstcl data prepare {wildcards.dataset} --image-size {wildcards.size}"
        " --own {params.own:q} --workers {threads} --out {output} 2> {log}"


rule contact_sheet:
    """Some images of every class of a prepared data set, to look at; made when asked for."""
    input:
        "data/prepared/{dataset}-{size}px.safetensors",
    output:
        "data/sheets/{dataset}-{size}px.png",
    log:
        "logs/data/{dataset}-{size}px-sheet.log",
    params:
        code=code_of("data:data_sheet"),
    shell:
        "dstcl data sheet {wildcards.dataset} --data {input} --out {output} 2> {log}"
