"""The command line: what each command prints and writes, and how mistakes end."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

import dstcl.cli
from dstcl.cli import main
from dstcl.cli.parser import COMMANDS, build_parser, module_of
from dstcl.evaluation.made_from import stated
from dstcl.figures import FIGURES
from dstcl.storage import read_json
from dstcl.study.load import json_schema, load, load_file, runs
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import Run
from helpers.finished import small_study
from helpers.runs import changed

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
REFERENCE = PARAMS.parent / "reference"

CONFIG: dict[str, Any] = {
    "preset": "tiny",
    "protocols": {"corrected": yaml.safe_load(PARAMS.read_text())["protocols"]["corrected"]},
    "presets": {
        "tiny": {
            "benchmarks": [{"dataset": "mnist5k", "tasks": 2}],
            "protocols": ["corrected"],
            "networks": ["convnet"],
            "methods": ["dst"],
            "densities": [0.1],
            "inits": ["erk"],
            "growths": ["random", "gradient"],
            "seeds": [0, 1],
            "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01},
            "topology": {"update_every": 5},
        }
    },
    "figures": {"dpi": 72},
}
RUNS = runs(load(CONFIG))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a params.yaml of a small study."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return tmp_path


@pytest.fixture
def study() -> Path:
    """results/tiny with the plan and the finished runs of the study."""
    return small_study(Path("results/tiny"), RUNS)


def mistake(*arguments: str) -> str:
    """The one line that a mistake ends with; `sys.exit` prints it and exits with 1."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    message = caught.value.code
    assert isinstance(message, str)
    assert len(message.splitlines()) == 1
    assert message.startswith("dstcl: ")
    return message.removeprefix("dstcl: ")


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from dstcl.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


# config


def test_show_prints_the_chosen_preset_with_its_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["config", "show"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["preset"] == "tiny"
    assert shown["study"]["seeds"] == [0, 1]
    assert shown["study"]["training"]["optimizer"] == "adam"
    assert shown["study"]["topology"]["prune_rate"] == 0.5
    assert shown["protocols"] == CONFIG["protocols"]
    assert shown["figures"] == {"dpi": 72, "manuscript_width": 140}


def test_show_takes_another_file_and_another_preset(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "show", "--params", str(PARAMS), "--preset", "paper"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["preset"] == "paper"
    assert shown["study"]["networks"] == ["resnet18"]


def test_runs_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "runs"])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{run.digest} {run.folder}" for run in RUNS]
    assert printed.err == "4 runs\n"


def test_runs_as_json_are_full_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "runs", "--json", "--params", str(PARAMS), "--preset", "quick"])
    listed = [Run.from_dict(values) for values in json.loads(capsys.readouterr().out)]
    assert listed == runs(load_file(PARAMS, "quick"))


def test_values_replace_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """As the workflow gives them: the configuration that Snakemake resolved, as JSON."""
    Path("params.yaml").unlink()
    main(["config", "runs", "--values", json.dumps(CONFIG)])
    assert capsys.readouterr().out.split()[::2] == [run.digest for run in RUNS]


def test_a_plan_is_written_where_asked_and_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "plan", "--out", "results/tiny/plan.json"])
    assert read_plan(Path("results/tiny")) == ("tiny", RUNS)
    assert capsys.readouterr().out == ""


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "schema"])
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_bad_configuration_ends_in_its_message() -> None:
    bad = yaml.safe_dump(CONFIG).replace("gradient", "gradeint")
    Path("params.yaml").write_text(bad)
    for command in (["show"], ["runs"], ["runs", "--json"], ["plan", "--out", "plan.json"]):
        message = mistake("config", *command)
        assert message.startswith("params.yaml: presets.tiny.growths[1]: 'gradeint'; allowed: ")
    assert not Path("plan.json").exists()


def test_an_unknown_preset_ends_in_the_known_ones() -> None:
    assert mistake("config", "runs", "--preset", "huge").endswith("'huge'; allowed: tiny")


def test_a_missing_params_file_is_named() -> None:
    assert mistake("config", "show", "--params", "none.yaml") == "none.yaml: no such file"


# data and train


def test_data_are_prepared_and_split(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "prepare", "mnist5k", "--image-size", "28", "--out", "data/m.safetensors"])
    assert re.search("digest [0-9a-f]{16}$", capsys.readouterr().err.strip())
    source = ["--data", "data/m.safetensors", "--out", "data/tasks.json"]
    main(["data", "split", "mnist5k", "--tasks", "5", "--order", "natural", *source])
    assert read_json(Path("data/tasks.json"))["tasks"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_missing_data_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSTCL_DATA", "elsewhere")
    message = mistake("data", "prepare", "cifar100", "--image-size", "32", "--out", "c")
    assert "elsewhere/cifar100" in message


def test_a_missing_prepared_file_is_named() -> None:
    options = ["--data", "none", "--tasks", "5", "--order", "natural", "--out", "t"]
    assert mistake("data", "split", "mnist5k", *options) == "none: no such file"


TRAIN = ["--data", "none.safetensors", "--tasks", "none.json", "--out", "out"]


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        (["--run", "{"], "--run: not JSON"),
        (["--run", ""], "--run: not JSON"),
        (["--run", "{}"], "run description: axes.dataset: missing"),
        (["--run", '{"epoch": 1}'], "run description: unknown 'epoch'"),
        (["--run-file", "none.json"], "none.json: no such file"),
        (["--run-file", "params.yaml"], "params.yaml: not JSON"),
        (["--run", json.dumps(RUNS[0].to_dict())], "none.safetensors: no such file"),
    ],
)
def test_a_run_that_cannot_be_trained_is_refused_in_one_line(
    description: list[str], complaint: str
) -> None:
    assert complaint in mistake("train", *description, *TRAIN)
    assert not Path("out").exists()


# Results


def test_collect_writes_the_tables_of_the_plan(study: Path) -> None:
    main(["collect", str(study)])
    names = {path.name for path in study.glob("*.csv")}
    assert names >= {"summary.csv", "comparisons.csv", "accuracy.csv", "capacity.csv"}
    lines = (study / "summary.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[1] for line in lines] == ["digest", *(r.digest for r in RUNS)]


def test_collect_refuses_a_run_of_another_study(study: Path) -> None:
    path = study / "runs" / RUNS[1].folder / "config.json"
    other = RUNS[1].changed({"epochs": 9})
    path.write_text(json.dumps(other.to_dict()))
    message = mistake("collect", str(study))
    assert message.startswith(f"{path}: training.epochs is 9, the study asks for 2")
    assert list(study.glob("*.csv")) == []


def test_a_summary_names_the_preset_and_every_figure(study: Path) -> None:
    main(["collect", str(study)])
    main(["claims", str(study), "--reference", str(REFERENCE)])
    main(["summary", str(study)])
    text = (study / "summary.md").read_text()
    assert "tiny" in text.splitlines()[0]
    assert all(f"figures/{name}.svg" in text for name in FIGURES)
    tables = ("summary.csv", "comparisons.csv", "claims.csv", "paper.csv", "paper_tables.csv")
    contents = {table: (study / table).read_bytes() for table in tables}
    assert stated(text) == {t: hashlib.sha256(c).hexdigest()[:16] for t, c in contents.items()}


def test_a_claims_file_with_a_mistake_is_refused_and_nothing_is_written(study: Path) -> None:
    main(["collect", str(study)])
    reference = study / "reference"
    reference.mkdir()
    (reference / "claims.yaml").write_text("claims:\n  - {id: a, kind: guess}\n")
    assert "claim a: kind: guess; allowed: " in mistake(
        "claims", str(study), "--reference", str(reference)
    )
    assert "claims.yaml: no such file" in mistake("claims", str(study), "--reference", "nowhere")
    assert not (study / "claims.csv").exists()


def test_nothing_forgotten_is_not_tested_where_the_plan_says_that_tests_draw_numbers(
    study: Path,
) -> None:
    main(["collect", str(study)])
    claims = ["claims", str(study), "--reference", str(REFERENCE)]
    main(claims)
    assert "with chance" not in (study / "claims.csv").read_text()
    shuffled = [changed(run, batch_norm="batch") for run in RUNS]
    write_plan("tiny", shuffled, study / "plan.json")
    assert mistake(*claims).startswith(f"{study / 'summary.csv'}: run ")
    for name in ("summary", "accuracy", "capacity"):
        text = (study / f"{name}.csv").read_text()
        for old, new in zip(RUNS, shuffled):
            text = text.replace(old.digest, new.digest)
        (study / f"{name}.csv").write_text(text)
    main(claims)
    assert "with chance under this protocol (batch_norm" in (study / "claims.csv").read_text()


def test_damaged_tables_are_named_and_nothing_is_written(study: Path) -> None:
    main(["collect", str(study)])
    claims = ["claims", str(study), "--reference", str(REFERENCE)]
    path = study / "summary.csv"
    sound = path.read_text()
    path.write_text(sound.replace("network", "net", 1))
    assert mistake(*claims) == f"{path}: no column network"
    header, first, *rest = sound.splitlines()
    cells = first.split(",")
    cells[header.split(",").index("acc")] = "good"
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
    assert mistake(*claims) == f"{path}: line 2: acc 'good' is not a number"
    assert not (study / "claims.csv").exists()


def test_a_figure_is_drawn_in_every_format(study: Path) -> None:
    main(["collect", str(study)])
    main(["figure", "accuracy_over_tasks", str(study), "--dpi", "50"])
    suffixes = {path.suffix for path in (study / "figures").glob("accuracy_over_tasks.*")}
    assert suffixes == {".svg", ".pdf", ".png", ".csv"}


def test_an_unknown_figure_is_refused_with_the_known_ones(study: Path) -> None:
    message = mistake("figure", "accuracy", str(study))
    assert "'accuracy'" in message
    assert all(name in message for name in FIGURES)


def test_tables_that_are_not_there_are_named(study: Path) -> None:
    assert f"{study / 'summary.csv'}: no such file" in mistake("summary", str(study))
    for name in FIGURES:
        assert f"{study}" in mistake("figure", name, str(study))


@pytest.mark.parametrize("command", ["collect", "summary", "track"])
def test_a_study_without_a_plan_is_named(command: str) -> None:
    assert mistake(command, "results/none") == "results/none/plan.json: no such file"


@pytest.mark.parametrize("command", ["collect", "summary", "track"])
def test_a_plan_that_is_none_is_named(command: str) -> None:
    Path("plan.json").write_text('{"preset": "tiny"}')
    assert mistake(command, ".").startswith("plan.json: not a plan")


# One word for command, module and rule


def test_every_module_is_a_command_or_shared_by_some() -> None:
    folder = Path(dstcl.cli.__file__).parent
    found = {
        ".".join(["dstcl.cli", *path.relative_to(folder).with_suffix("").parts])
        for path in folder.rglob("*.py")
        if path.stem != "__init__"
    }
    shared = {"parser", "options", "training_options", "config.options", "data.options", "data.own"}
    commands = {module_of(command) for command in COMMANDS}
    assert found == commands | {f"dstcl.cli.{name}" for name in shared}


def test_rules_have_the_name_of_the_command_that_they_call() -> None:
    text = "".join(path.read_text() for path in (PARAMS.parent / "workflow/rules").glob("*.smk"))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    called = {rule.partition(":")[0]: re.findall(r'"dstcl ([a-z ]+?) [{-]', rule) for rule in rules}
    calling = {name: commands for name, commands in called.items() if commands}
    assert set().union(*calling.values()) <= set(COMMANDS)
    assert calling.pop("train_run") == ["train"], "rule train is all runs"
    assert len(calling) >= 10
    for name, commands in calling.items():
        assert [command.split()[-1] for command in commands] == [name]


def test_parsing_any_command_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pandas", "pydantic", "yaml", "matplotlib", "mlflow", "scipy", "PIL"}
    program = (
        "import sys; from dstcl.cli.parser import build_parser; build_parser();"
        f"print(*({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args([*command.split(), "--help"])
    assert not caught.value.code
    usage, what, *_ = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(f"usage: dstcl {command} ")
    assert re.fullmatch(r"[A-Z][^:]+\.", what, re.DOTALL), "a sentence"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command: str) -> None:
    parser = build_parser()
    for word in command.split():
        (commands,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = commands.choices[word]
    assert [action.dest for action in parser._actions if not action.help] == []


# How commands end


def test_the_installed_command_is_main() -> None:
    (script,) = [entry for entry in entry_points(group="console_scripts") if entry.name == "dstcl"]
    assert script.load() is main


def test_without_the_extra_a_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if not installed
    with pytest.raises(SystemExit) as caught:
        main(["config", "show"])
    said = str(caught.value.code)
    assert said.startswith("dstcl: yaml is not installed")
    assert "pip install '.[study]'" in said
    assert "\n" not in said


def test_a_module_that_is_missing_elsewhere_is_a_bug_and_told_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dstcl.study.load", None)
    with pytest.raises(ModuleNotFoundError):
        main(["config", "show"])


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out.strip() == dstcl.__version__


def test_a_command_that_works_exits_with_zero_and_is_silent_on_stderr() -> None:
    done = shell("config", "show")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["preset"] == "tiny"


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "show", "--params", "none.yaml"],
        ["config", "runs", "--preset", "huge"],
        ["config", "show", "--values", "{"],
        ["config", "plan", "--out", "params.yaml/plan.json"],
        ["collect", "nowhere"],
    ],
)
def test_a_mistake_exits_with_one_line_on_stderr(arguments: list[str]) -> None:
    done = shell(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("dstcl: ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["config"],
        ["config", "shwo"],
        ["config", "plan"],
        ["config", "show", "--parms", "params.yaml"],
        ["data", "prepare", "mnist5k", "--image-size", "large", "--out", "x"],
        ["train", *TRAIN],
        ["train", "--run", "{}", "--run-file", "run.json", *TRAIN],
        ["collect"],
        ["figure", "capacity"],
    ],
)
def test_a_command_that_is_none_exits_with_its_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("usage: dstcl")
    assert re.match("dstcl.*: error: ", printed.err.splitlines()[-1])


def test_an_interrupt_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **chosen: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dstcl.study.load.load_file", interrupted)
    assert mistake("config", "show").startswith("interrupted")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **chosen: Any) -> None:
        raise AssertionError("an invariant does not hold")

    monkeypatch.setattr("dstcl.study.load.load_file", broken)
    with pytest.raises(AssertionError, match="invariant"):
        main(["config", "show"])


# Gaps: what should be refused, or refused in better words, and is not yet


@pytest.mark.parametrize("values", ["3", "null"])
def test_values_that_are_no_mapping_are_refused(values: str) -> None:
    assert mistake("config", "show", "--values", values).startswith("--values: ")


def test_values_that_are_no_json_are_refused_by_name() -> None:
    assert mistake("config", "show", "--values", "{").startswith("--values: not JSON")


def test_values_and_a_preset_give_that_preset(capsys: pytest.CaptureFixture[str]) -> None:
    both = CONFIG | {"presets": CONFIG["presets"] | {"other": CONFIG["presets"]["tiny"]}}
    main(["config", "show", "--values", json.dumps(both), "--preset", "other"])
    assert yaml.safe_load(capsys.readouterr().out)["preset"] == "other"


@pytest.mark.parametrize(
    "run",
    [
        [],
        "text",
        RUNS[0].to_dict() | {"lr_milestones": None},
        RUNS[0].to_dict() | {"tasks": "2"},
    ],
)
def test_a_run_of_another_type_is_refused(run: object) -> None:
    assert "run" in mistake("train", "--run", json.dumps(run), *TRAIN)


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    message = mistake("data", "prepare", "imagenet", "--image-size", "28", "--out", "x")
    assert "mnist5k" in message


def test_the_first_lines_of_a_list_can_be_taken() -> None:
    """As in ``dstcl config runs | head -1``: what is not wanted is no mistake."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", "from dstcl.cli import main; main()", "config", "runs"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "roken" not in done.stderr
