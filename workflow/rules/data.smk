rule prepare_dataset:
    """Decode a data set once into one file of uint8 images, labels and the split."""
    output:
        "data/prepared/{dataset}-{size}px.safetensors",
    log:
        "logs/data/{dataset}-{size}px.log",
    benchmark:
        "logs/data/{dataset}-{size}px.benchmark.tsv"
    params:
        code=code_of("data_prepare"),
    shell:
        "dstcl data prepare {wildcards.dataset} --image-size {wildcards.size}"
        " --out {output} 2> {log}"
