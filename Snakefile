# All of it is in workflow/Snakefile, which also runs in other folders (docs/running.md).
include: "workflow/Snakefile"


# What an included file makes by default, Snakemake does not take over.
workflow.default_target = "all"
