# The only Python beside the rules: which files the study means. Everything that can be tested
# without Snakemake lives in src/dstcl.
import gc
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from snakemake.io import IOFile

if find_spec("dstcl") is None:
    sys.exit(
        "The rules call the package dstcl, which the Python of this Snakemake does not have: "
        "pip install '.[study]' in a checkout of it, or `make setup` there"
    )

from dstcl.codedigest import code_digest
from dstcl.study.load import ConfigError, layered, load, runs
from dstcl.study.cost import memory_mb_to_ask_for, minutes_to_ask_for
from dstcl.data.orders import PATTERN as ORDER_NAME
from dstcl.data.raw import source_state
from dstcl.figures import FIGURES, caption
from dstcl.jobs.handover import WARM
from dstcl.jobs.warm import WarmParent
from dstcl.reports.inputs import check_inputs
from dstcl.shipped import CITATION, CLAIMS, REPORT_PAGE, nearest, unknown_profile
from dstcl.study.data_standing import (
    doubt_of_data,
    why_not_prepared,
    why_prepare_again,
    why_split_again,
)
from dstcl.study.plan import is_plan_of
from dstcl.study.remarks import remarks
from dstcl.study.run import RESULT_FILES
from dstcl.study.standing import why_again

# A plan of thousands of jobs is millions of objects, all of them in use to the end: looking among
# them for garbage as often as Python does by itself takes a seventh of the planning time.
gc.set_threshold(100_000)

# The folder with workflow/ and reference/, where the rules are files: of a checkout, or of an
# installed package. None where Snakemake takes them from a repository: `module` with github(...).
RULES = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
CHECKOUT = RULES.parents[1] if RULES.is_dir() else None

# Snakemake ignores a profile that it does not find, and ends with a traceback where it cannot write.
if workflow.is_main_process:
    if unknown := unknown_profile(
        sys.argv, [Path(), Path(workflow.main_snakefile).parent]
    ):
        sys.exit(unknown)
    if not os.access(Path.cwd(), os.W_OK):
        sys.exit(
            f"{Path.cwd()}: cannot be written to; data, results and logs go there, or into the "
            "folder that --directory names"
        )

# What holds for this study: a module that is given no configuration has that of the command line.
# Until here `config` holds what --configfile and --config say, and `configfile:` of who uses this
# as a module. Not by `configfile:` here, which takes the last of two equal keys and can run code of
# a template language: what the other commands refuse must not be another study here.
config = config or workflow.config_settings.overwrite_config
PARAMS_FILES = [Path("params.yaml")]
if not PARAMS_FILES[0].exists() and "presets" not in config:
    sys.exit(
        f"params.yaml: no such file in {Path.cwd()}; a study is described there, or in a file that "
        f"--configfile names. One to begin with: {nearest('params.yaml', CHECKOUT)}"
    )
if workflow.config_settings.replace_workflow_config or not PARAMS_FILES[0].exists():
    PARAMS_FILES = []
GIVEN_FILES = [Path(path) for path in workflow.configfiles]
workflow.configfiles += map(str, PARAMS_FILES)
try:
    layered([path for path in GIVEN_FILES if path.suffix != ".json"], {})
    config = layered(PARAMS_FILES, config)
    PARAMS = load(config, str([*PARAMS_FILES, *GIVEN_FILES, "config"][0]))
    RUNS = {run.folder: run for run in runs(PARAMS)}
except ConfigError as error:
    sys.exit(str(error))

PRESET = PARAMS.preset
RESULTS = f"results/{PRESET}"
LOGS = f"logs/{PRESET}"
if workflow.is_main_process:
    for line in remarks(list(RUNS.values())):
        logger.warning(line)
TABLES = ["summary", "cells", "comparisons", "accuracy", "capacity"]
TABLES += ["overlap", "history", "decisions", "provenance"]
OF_CLAIMS = ["claims", "claim_units", "paper", "paper_tables"]
# What a study is compared with, and what its pages are made of.
REFERENCE = str(nearest(CLAIMS, CHECKOUT).parent)
PAGE = str(nearest(REPORT_PAGE, CHECKOUT).parent)
IMAGE = str(nearest("envs/dstcl.sif", CHECKOUT))
CITED = str(nearest(CITATION, CHECKOUT))
PAGE_FILES = [
    "report.html.j2",
    "report.css",
    "tables.js",
    "report.js",
    "background.html",
]
BROWSE_FILES = ["results.html.j2", "report.css", "results.css"]
BROWSE_FILES += ["tables.js", "charts.js", "pointer.js", "panels.js"]
BROWSE_FILES += ["details.js", "results.js"]

# The recorded study of this preset, if `dstcl record` wrote one; the report and the last lines
# compare this one with it.
RECORDED = str(nearest(f"reference/{PRESET}/plan.json", CHECKOUT).parent)
if not Path(RECORDED, "plan.json").exists():
    RECORDED = ""

# Before anything is trained; jobs that are at work must not end because somebody edits these.
if workflow.is_main_process:
    try:
        check_inputs(
            Path(REFERENCE), *(Path(PAGE, f[0]) for f in (PAGE_FILES, BROWSE_FILES))
        )
    except ValueError as error:
        sys.exit(str(error))


wildcard_constraints:
    dataset="[a-z0-9]+",
    size="[0-9]+",
    tasks="[0-9]+",
    order=ORDER_NAME,
    folder=".+/seed[0-9]+-[0-9a-f]{10}",
    figure="[a-z_]+",


def code_of(*entries):
    """A params function: the digest of all code behind modules of dstcl. Snakemake itself sees
    only the command line. Only params functions of wildcards alone trigger a re-run.
    """
    return lambda wildcards: code_digest(*entries)


def figure_code(wildcards):
    """The digest of all code behind one figure; the others' modules do not count."""
    return code_digest("cli.figure", f"figures.{wildcards.figure}")


def study_json(wildcards):
    """The part of params.yaml that decides which runs there are, as one comparable text.

    Mappings keep their order: that of varied settings is the order of a run's folders.
    """
    science = PARAMS.model_dump() | {"presets": {PRESET: PARAMS.study.model_dump()}}
    science["figures"] = {}
    names = PARAMS.study.protocol_names()
    science["protocols"] = {name: science["protocols"][name] for name in names}
    return json.dumps(science)


def run_json(wildcards):
    """What decides the numbers of one run: a setting that it does not read re-trains nothing."""
    run = RUNS[wildcards.folder]
    varied = {"vary": list(run.vary)} if run.vary else {}
    return json.dumps(run.identity | varied, sort_keys=True)


def run_test_batch(wildcards):
    """Decides speed and memory; where it decides numbers too, it is part of `run_json`."""
    return RUNS[wildcards.folder].training.test_batch_size


def own_dataset_json(wildcards):
    """The entry of a data set of the user's own in params.yaml, or nothing."""
    own = PARAMS.datasets.get(wildcards.dataset)
    return json.dumps(own.model_dump(), sort_keys=True) if own else "{}"


def archive_state(wildcards):
    """A fingerprint of the archive that is found, so that another one is noticed.

    Not an input: prepared data that were pulled without their archive are complete, and must not be
    made again because an input is gone.
    """
    return source_state(
        wildcards.dataset, prepared_file(wildcards), own_dataset(wildcards)
    )


def own_dataset(wildcards):
    """Facts of a data set of the user's own; None of others."""
    own = wildcards.dataset in PARAMS.datasets
    return PARAMS.dataset_info(wildcards.dataset) if own else None


def prepared_file(wildcards):
    return Path(f"data/prepared/{wildcards.dataset}-{wildcards.size}px.safetensors")


def run_memory(wildcards, attempt):
    return memory_mb_to_ask_for(RUNS[wildcards.folder], attempt)


def run_minutes(wildcards, attempt):
    return minutes_to_ask_for(RUNS[wildcards.folder], attempt)


def finished_of_other_code_or_data():
    """Metrics files of finished runs that must be trained again, and why the first of them must.

    Runs vouch for themselves: Snakemake has no memory of those that were trained without it,
    merged, or checked out, and compares neither code nor settings of files that it does not know.
    """
    if not workflow.is_main_process:  # a job that runs is needed
        return {}
    data, found = Path("data"), {}
    for run in RUNS.values():
        if reason := why_again(run, Path(RESULTS, "runs", run.folder), data):
            found[f"{RESULTS}/runs/{run.folder}/{RESULT_FILES['metrics']}"] = reason
    if found:
        print(
            f"{len(found)} of {len(RUNS)} runs are not of today's code, data or files and count as "
            f"not made: {next(iter(found.values()))}\n"
            f"To keep runs of other code: dstcl vouch {RESULTS} --reason '...'",
            file=sys.stderr,
        )
    return found


TO_TRAIN_AGAIN = finished_of_other_code_or_data()


def force(path):
    """Have the job that makes this file run, if it is part of the graph, as `--forcerun` would; but
    that would make the file a target too. Input functions call it: they are asked while the graph
    is built."""
    workflow.dag.forcefiles.add(path)


def unless_known(path, is_right=lambda: True):
    """An input function of cheap rules: without files, it has a file made again of which
    Snakemake has no record. Of such a file nobody knows which settings and which code made it.
    So has it one that is not right, put there behind Snakemake's back.
    """

    def no_files(wildcards):
        if workflow.is_main_process and Path(path).exists():
            if workflow.persistence.metadata(IOFile(path)) is None or not is_right():
                force(path)
        return []

    return no_files


def prepared_again(wildcards):
    """A prepared file, and why it must be made again if it is there."""
    path = prepared_file(wildcards)
    return path, lambda: why_prepare_again(
        path, wildcards.dataset, own_dataset(wildcards)
    )


def split_again(wildcards):
    """A task split, and why it must be made again if it is there."""
    folder = "data/tasks/{0.dataset}-{0.size}px-{0.tasks}tasks".format(wildcards)
    path = Path(folder, f"{wildcards.order}.json")
    return path, lambda: why_split_again(path, prepared_file(wildcards))


SAID_OF_DATA = set()


def unless_as_now(file_of):
    """An input function of what prepares data: without files, it has a file made again that is not
    what the code and the source of now would make, and says so. Of older files nobody knows.
    """

    def no_files(wildcards):
        path, why = file_of(wildcards)
        if workflow.is_main_process and path.exists():
            reason, doubt = why(), doubt_of_data(path)
            if reason:
                force(str(path))
            if (line := reason or (doubt and doubt.text)) and path not in SAID_OF_DATA:
                SAID_OF_DATA.add(path)
                print(line, file=sys.stderr)
        return []

    return no_files


def say_if_it_cannot_be_made(wildcards):
    """An input function of what prepares data: without files, it says of a set that runs still
    need that it is not there. The plan goes on, as the job itself would fail with the same line.
    """
    path = prepared_file(wildcards)
    if not workflow.is_main_process or path in SAID_OF_DATA or path.exists():
        return []
    if reason := why_not_prepared(wildcards.dataset, own_dataset(wildcards)):
        SAID_OF_DATA.add(path)
        if waiting := sum(waits_for(run, path) for run in RUNS.values()):
            print(
                f"{waiting} of {len(RUNS)} runs need images that are not there: {reason}",
                file=sys.stderr,
            )
    return []


def waits_for(run, prepared):
    """Whether a run that is not finished needs this prepared file."""
    metrics = f"{RESULTS}/runs/{run.folder}/{RESULT_FILES['metrics']}"
    unfinished = metrics in TO_TRAIN_AGAIN or not Path(metrics).exists()
    return prepared == Path("data", run.data_file) and unfinished


def prepared_data(wildcards):
    metrics = f"{RESULTS}/runs/{wildcards.folder}/{RESULT_FILES['metrics']}"
    if metrics in TO_TRAIN_AGAIN:
        force(metrics)
    return f"data/{RUNS[wildcards.folder].data_file}"


def task_split(wildcards):
    return f"data/{RUNS[wildcards.folder].tasks_file}"


def all_prepared_data(wildcards):
    return sorted({f"data/{run.data_file}" for run in RUNS.values()})


def all_task_splits(wildcards):
    return sorted({f"data/{run.tasks_file}" for run in RUNS.values()})


def all_runs():
    """One file of every run, the one written last: it stands for all the others, and asking for it
    alone keeps the planning of thousands of runs fast."""
    return [f"{RESULTS}/runs/{folder}/{RESULT_FILES['metrics']}" for folder in RUNS]


def all_tables():
    return [f"{RESULTS}/{table}.csv" for table in [*TABLES, *OF_CLAIMS]]


def all_figures(*suffixes):
    return [
        f"{RESULTS}/figures/{figure}.{suffix}"
        for figure in FIGURES
        for suffix in suffixes
    ]


def params_json(wildcards):
    """The whole configuration in force, overrides of the command line included."""
    return json.dumps(PARAMS.model_dump(), indent=2)


def has_plan():
    return is_plan_of(Path(RESULTS, "plan.json"), PRESET, RUNS)


def has_params():
    path = Path(RESULTS, "params.json")
    return path.read_text(errors="replace") == params_json(None) + "\n"


def figure_caption(wildcards):
    return caption(wildcards.figure)


def figure_captions():
    return "\n".join(caption(figure) for figure in FIGURES)


def figure_dpi(wildcards):
    return PARAMS.figures.dpi


def manuscript_width(wildcards):
    return PARAMS.figures.manuscript_width


WARM_PARENTS = []


def import_torch_once(trainings):
    """For all trainings of this process, if there are several."""
    if trainings > 1:
        WARM_PARENTS.append(WarmParent())


def trainings_on_this_machine():
    """How many are to come; on a cluster they are no processes of this one."""
    if not (workflow.is_main_process and workflow.local_exec):
        return 0
    return sum(job.rule.name == "train_run" for job in workflow.dag.needrun_jobs())


# A warm parent that is inherited here is another Snakemake's. Within a job of a cluster, where no
# hooks are called, profile packed has several trainings; which, only the command line says yet.
if not workflow.subprocess_exec:
    os.environ.pop(WARM, None)
if workflow.remote_exec:
    import_torch_once(sum(word.startswith("train_run:") for word in sys.argv))


def say_what_failed():
    """Which runs failed and why, and tables, figures and report of the others."""
    if Path(RESULTS, "plan.json").exists():
        page = ["--reference", REFERENCE, "--template", f"{PAGE}/{PAGE_FILES[0]}"]
        subprocess.run(["dstcl", "partial", RESULTS, *page], check=False)


def recorded_tables():
    """What the report compares the study with."""
    if not RECORDED:
        return []
    params = Path(RECORDED, "params.json")
    return [
        *sorted(map(str, Path(RECORDED).glob("*.csv"))),
        *([str(params)] * params.exists()),
    ]


def all_recorded_tables():
    """Of every recorded study and of the paper: what the page of all results shows."""
    found = Path(REFERENCE).glob("**/*")
    return sorted(
        str(f) for f in found if f.suffix in (".csv", ".md") or f.name == "params.json"
    )


def say_whether_confirmed():
    """Three lines: whether verdicts, accuracies and machines are those of the recorded study."""
    if RECORDED and Path(RESULTS, "claims.csv").exists():
        confirmed = ["dstcl", "confirm", RESULTS, RECORDED, "--brief"]
        subprocess.run(confirmed, check=False)


def forget_what_failed():
    """What was made of some runs only is of no use once all are there."""
    if all(Path(path).exists() for path in all_runs()):
        shutil.rmtree(f"{RESULTS}/partial", ignore_errors=True)
