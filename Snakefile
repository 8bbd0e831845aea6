# Continual learning with dynamic sparse training, from data to report.
#
#   snakemake --cores all                           preset quick: minutes on a laptop
#   snakemake --cores all --config preset=paper     the paper's grid: see README, "At full scale"
#   snakemake --list-target-rules                   what can be asked for: train, report, ...

from snakemake.utils import min_version

min_version("9.14")


report: "workflow/report/workflow.rst"


# Of `--sdm apptainer` alone; made by `apptainer build` from envs/dstcl.def.
container: "envs/dstcl.sif"


# Checks params.yaml and lists its runs; everything after it is one stage per file, in order.
include: "workflow/rules/common.smk"


rule all:
    """Everything: runs, tables, figures, report, MLflow.

    Named one by one, so that each is made again where somebody has deleted it: what only others are
    made of, Snakemake does not miss."""
    input:
        all_runs(),
        all_tables(),
        all_figures("svg", "pdf", "png", "csv"),
        f"{RESULTS}/plan.json",
        f"{RESULTS}/params.json",
        f"{RESULTS}/overview.json",
        f"{RESULTS}/summary.md",
        f"{RESULTS}/report.html",
        f"{RESULTS}/results.html",
        f"{RESULTS}/mlflow.json",


include: "workflow/rules/data.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


# Torch is imported once for all runs, and not once for each.
onstart:
    import_torch_once(trainings_on_this_machine())


# With `keep-going` the runs that are finished are worth something, and the failed ones have names.
onerror:
    say_what_failed()


onsuccess:
    forget_what_failed()
    say_whether_confirmed()
