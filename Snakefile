# The workflow is in workflow/Snakefile, which also runs in other folders (docs/running.md).
include: "workflow/Snakefile"


# Snakemake does not take the default target from an included file.
workflow.default_target = "all"
