# Continual learning with dynamic sparse training, from data to report.
#
#   snakemake --cores all                           preset quick: minutes on a laptop
#   snakemake --cores all --config preset=paper     the paper's grid: see README, "At full scale"
#   snakemake --list-target-rules                   what can be asked for: train, report, ...

from snakemake.utils import min_version

min_version("9.14")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


# Of `--sdm apptainer` alone; made by `apptainer build` from envs/dstcl.def.
container: "envs/dstcl.sif"


# Checks params.yaml and lists its runs; everything after it is one stage a file, in order.
include: "workflow/rules/common.smk"


rule all:
    """Everything: tables, figures, report, MLflow."""
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/overview.json",
        f"{RESULTS}/mlflow.json",


include: "workflow/rules/data.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


# With `keep-going` the runs that are finished are worth something, and the failed ones have names.
onerror:
    say_what_failed()


onsuccess:
    forget_what_failed()
