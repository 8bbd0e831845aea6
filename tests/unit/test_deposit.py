"""The archive of a study: whole, checked, described, the same bytes; refused where it lies."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.deposit.archive import SUMS, write_archive
from dstcl.deposit.citation import read_citation
from dstcl.deposit.contents import DRAWN, MANUSCRIPT
from dstcl.deposit.crate import METADATA, PROFILE
from dstcl.evaluation import collect as collect_module
from dstcl.evaluation.collect import collect
from dstcl.evaluation.judge import write_claims
from dstcl.evaluation.made_from import made_from
from dstcl.evaluation.paper.write import write_paper
from dstcl.figures import FIGURES
from dstcl.reports.overview import write_overview
from dstcl.storage import read_json, write_bytes, write_json, write_text
from dstcl.study.missing import write_missing
from dstcl.study.plan import read_plan
from helpers.finished import finished_run, small_study
from helpers.runs import REPOSITORY, quick_run

CITATION = REPOSITORY / "CITATION.cff"
RUNS = [quick_run(tasks=2, epochs=1, seed=seed) for seed in (0, 1)]
ABOUT = {"README.md", "CITATION.cff", "LICENSE", "zenodo.json", METADATA, SUMS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two runs; its figures and pages are stand-ins."""
    study = small_study(tmp_path_factory.mktemp("made") / "tiny", RUNS)
    collect(RUNS, study)
    make_claims(study)
    write_json(study / "params.json", {})
    write_overview(study)
    stand_in(study, "figures", "summary.md", "report.html")
    write_text(study / "runs" / RUNS[0].folder / "progress.jsonl", "no part of it")
    write_text(study / "runs" / RUNS[0].folder / "checkpoints" / "one.safetensors", "nor this")
    write_text(study / "mlflow.json", "nor this")
    return study


def make_claims(study: Path) -> None:
    write_paper(study, REPOSITORY / "reference")
    write_claims(study, REPOSITORY / "reference")


def stand_in(study: Path, *names: str) -> None:
    """Stand-ins that say, as the real ones do, what they were made from."""
    for name in names:
        if name == "figures":
            for figure, suffix in product(FIGURES, DRAWN):
                said = f"{figure} {suffix} {made_from(study, ['summary.csv', 'accuracy.csv'])}"
                write_text(study / "figures" / f"{figure}.{suffix}", said)
        else:
            tables = ["summary.csv", "claims.csv", *(["figures/costs.svg"] * (".html" in name))]
            write_text(study / name, f"words {made_from(study, tables)}")


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def unpacked(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        file.extractall(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_what_is_unpacked_is_the_study(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "out.zip", CITATION)
    there = unpacked(tmp_path / "out.zip", tmp_path / "there")
    left_out = {name for name in names(study) if "progress" in name or "checkpoints" in name}
    assert len(left_out) == 2
    assert names(there) == names(study) - left_out - {"mlflow.json"} | ABOUT
    for name in names(there) - ABOUT:
        assert (there / name).read_bytes() == (study / name).read_bytes()
    assert read_plan(there)[1] == RUNS
    pd.testing.assert_frame_equal(collect(RUNS, there, thorough=True), collect(RUNS, study))


def test_the_list_has_the_digest_of_every_other_file(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "out.zip", CITATION)
    there = unpacked(tmp_path / "out.zip", tmp_path / "there")
    lines = (there / SUMS).read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert list(listed) == sorted(names(there) - {SUMS})
    for name, digest in listed.items():
        assert hashlib.sha256((there / name).read_bytes()).hexdigest() == digest, name


def test_the_same_study_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "one.zip", CITATION)
    for path in study.rglob("*"):
        path.touch()
    other = Path(shutil.copytree(study, tmp_path / "elsewhere" / "tiny"))
    write_archive(other, tmp_path / "two.zip", CITATION)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as file:
        entries = file.infolist()
    assert [e.filename for e in entries[:-1]] == sorted(e.filename for e in entries[:-1])
    assert {(e.date_time, e.external_attr >> 16) for e in entries} == {((1980, 1, 1, 0, 0, 0), 420)}


def test_weights_can_be_left_out(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "out.zip", CITATION, weights=False)
    there = names(unpacked(tmp_path / "out.zip", tmp_path / "there"))
    assert not [name for name in there if name.endswith("weights.safetensors")]
    assert len([name for name in there if name.endswith("masks.safetensors")]) == 2


def test_a_manuscript_and_what_vouches_for_runs_are_packed(study: Path, tmp_path: Path) -> None:
    write_text(study / MANUSCRIPT / "costs.pdf", "drawn")
    write_text(study / MANUSCRIPT / "all.log", "where it was compiled")
    assert "manuscript/all.tex: does not say from which tables" in refusal(study)
    stand_in(study, "manuscript/all.tex")
    vouched = f"runs/{RUNS[0].folder}/vouched.json"
    write_json(study / vouched, [])
    write_archive(study, tmp_path / "out.zip", CITATION)
    there = names(unpacked(tmp_path / "out.zip", tmp_path / "there"))
    assert {"manuscript/all.tex", "manuscript/costs.pdf", vouched} <= there
    assert "manuscript/all.log" not in there
    graph = json.loads((tmp_path / "there" / METADATA).read_text())["@graph"]
    results = [part["@id"] for one in graph for part in one.get("result", [])]
    assert vouched not in results, "a later statement, which the training did not leave"


def test_the_metadata_of_the_deposit_are_those_of_the_citation(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "out.zip", CITATION)
    found = read_json(unpacked(tmp_path / "out.zip", tmp_path / "there") / "zenodo.json")
    cited = read_citation(CITATION)
    assert found["title"] == f"Results of preset tiny of {cited['title']}"
    assert (found["upload_type"], found["access_right"]) == ("dataset", "open")
    assert (found["license"], found["version"]) == (cited["license"], cited["version"])
    assert found["creators"] == [{"name": "The dstcl developers"}]
    paper = {"identifier": "arXiv:2308.14831", "relation": "references"}
    assert paper in found["related_identifiers"]
    assert "2 runs" in found["description"]


def test_persons_are_cited_by_family_name_and_orcid(study: Path, tmp_path: Path) -> None:
    text = CITATION.read_text().replace(
        '  - name: "The dstcl developers"\n',
        "  - family-names: Doe\n    given-names: Jo\n    orcid: https://orcid.org/0000-0002-1\n",
    )
    write_text(tmp_path / "cited" / "CITATION.cff", text)
    write_archive(study, tmp_path / "out.zip", tmp_path / "cited" / "CITATION.cff")
    there = unpacked(tmp_path / "out.zip", tmp_path / "there")
    found = read_json(there / "zenodo.json")
    assert found["creators"] == [{"name": "Doe, Jo", "orcid": "0000-0002-1"}]
    assert not (there / "LICENSE").exists(), "there is none beside this CITATION.cff"


def test_every_run_is_an_action_of_the_crate(study: Path, tmp_path: Path) -> None:
    write_archive(study, tmp_path / "out.zip", CITATION)
    there = unpacked(tmp_path / "out.zip", tmp_path / "there")
    graph = {one["@id"]: one for one in json.loads((there / METADATA).read_text())["@graph"]}
    root = graph["./"]
    assert root["conformsTo"] == {"@id": PROFILE}
    assert root["datePublished"] == "2026-01-02T03:04:15+00:00", "when the last run ended"
    files = {part["@id"] for part in root["hasPart"]}
    assert files == names(there) - {METADATA}
    for run in RUNS:
        action = graph[f"#run-{run.digest}"]
        assert action["@type"] == "CreateAction"
        assert {"@id": f"#run-{run.digest}"} in root["mentions"]
        assert action["startTime"] == "2026-01-02T03:04:05+00:00"
        folder = f"runs/{run.folder}"
        assert action["object"][0] == {"@id": f"{folder}/config.json"}
        left = {part["@id"] for part in action["result"]}
        assert left == {name for name in files if name.startswith(folder)} - {
            f"{folder}/config.json"
        }
        assert graph[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
    used = {r["@id"] for one in graph.values() for r in references(one)}
    outside = {name for name in used if name.startswith("https://w3id.org/ro/crate")}
    assert used - outside <= graph.keys()


def references(entity: dict[str, object]) -> list[dict[str, str]]:
    parts = [p for v in entity.values() for p in (v if isinstance(v, list) else [v])]
    return [part for part in parts if isinstance(part, dict) and "@id" in part]


def rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(study: Path) -> None:
        path = study / name
        assert old in path.read_text()
        write_text(path, path.read_text().replace(old, new, 1))

    return change


FIRST = f"runs/{RUNS[0].folder}"
SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a run is missing": (
        lambda study: shutil.rmtree(study / FIRST),
        "1 of 2 runs are finished, {study}/runs/" + RUNS[0].folder + " is not",
    ),
    "a mask was changed": (
        lambda study: write_bytes(study / FIRST / "masks.safetensors", b"others"),
        "masks.safetensors: changed since the run wrote it",
    ),
    "metrics were changed": (
        rewrite(f"{FIRST}/metrics.json", '"bwt": 0.0', '"bwt": 0.5'),
        "metrics.json: changed since the run wrote it",
    ),
    "a table was changed": (rewrite("summary.csv", "0.8", "0.9"), "summary.csv: not what the runs"),
    "a table is missing": (
        lambda study: (study / "claims.csv").unlink(),
        "claims.csv: no such file",
    ),
    "the report is missing": (
        lambda study: (study / "report.html").unlink(),
        "report.html: no such file",
    ),
    "merged, and planned runs are in no folder": (
        lambda study: write_missing(study, 2, ["3 runs that were not trained"]),
        "missing.json: not the whole study: 2 of 5 planned runs; train the rest",
    ),
    "another run lies there": (
        lambda study: shutil.copytree(
            finished_run(study.with_name("other"), quick_run(tasks=2, epochs=2)),
            study / FIRST,
            dirs_exist_ok=True,
        ),
        "config.json: training.epochs is 2, the study asks for 1",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_not_whole_is_refused_in_one_line(how: str, study: Path) -> None:
    spoil, reason = SPOILED[how]
    spoil(study)
    assert reason.format(study=study) in refusal(study)


def refusal(study: Path) -> str:
    out = study.with_name("out.zip")
    with pytest.raises(SystemExit) as caught:
        main(["archive", str(study), "--out", str(out), "--citation", str(CITATION)])
    assert "\n" not in str(caught.value.code)
    assert not out.exists()
    return str(caught.value.code)


def test_what_was_made_of_fewer_runs_is_named_until_all_is_made_again(study: Path) -> None:
    """Each message has all commands that are left, in an order in which they can be called."""
    all_figures = f"`dstcl figure` ({', '.join(FIGURES)})"
    rest = ["`dstcl summary`", "`dstcl report`", "`dstcl manuscript`", "`dstcl overview`"]
    stand_in(study, "manuscript/all.tex")
    runs = [*RUNS, quick_run(tasks=2, epochs=1, seed=2)]
    small_study(study, runs, finished=runs[2:])
    assert "summary.csv: not what the runs say" in refusal(study)
    collect(runs, study)
    again = ", ".join(["`dstcl claims`", all_figures, *rest])
    assert refusal(study).endswith(
        f"{study}/claims.csv: not made from the summary.csv that is there; call again: {again}"
    )
    make_claims(study)
    again = ", ".join([all_figures, *rest])
    assert refusal(study).endswith(
        "figures/claims.svg: not made from the summary.csv that is there; call again: " + again
    )
    stand_in(study, "figures", "summary.md")
    reason = "report.html: not made from the summary.csv that is there; "
    assert refusal(study).endswith(f"{reason}call again: {', '.join(rest[1:])}")
    stand_in(study, "report.html", "manuscript/all.tex")
    reason = "overview.json: not the means of the tables that are there; "
    assert refusal(study).endswith(f"{reason}call again: {rest[3]}")
    write_overview(study)
    main(["archive", str(study), "--citation", str(CITATION)])


def test_tables_of_an_interrupted_collection_are_refused(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was interrupted before its last table."""

    def cut(path: Path, text: str) -> None:
        if path.name == "comparisons.csv":
            raise KeyboardInterrupt
        write_text(path, text)

    runs = [*RUNS, quick_run(tasks=2, epochs=1, seed=2)]
    small_study(study, runs, finished=runs[2:])
    with monkeypatch.context() as patch:
        patch.setattr(collect_module, "write_text", cut)
        with pytest.raises(KeyboardInterrupt):
            collect(runs, study)
    assert "summary.csv: not what the runs say" in refusal(study)


def test_a_page_with_an_older_figure_is_refused(study: Path) -> None:
    path = study / "figures" / "costs.svg"
    write_text(path, f"another size, {made_from(study, ['summary.csv'])}")
    reason = "report.html: not made from the figures/costs.svg that is there; call again: "
    assert refusal(study).endswith(reason + "`dstcl report`")


def test_runs_that_took_longer_leave_the_claims_as_they_are(study: Path) -> None:
    before = (study / "claims.csv").read_bytes()
    finished_run(study, RUNS[0], metrics={"seconds": 11.0})
    collect(RUNS, study)
    assert "call again: `dstcl figure`" in refusal(study)
    make_claims(study)
    assert (study / "claims.csv").read_bytes() == before


def as_of_older_code(study: Path) -> None:
    """Nothing says what it was made from; the pages begin and look as they have always done."""
    claims = pd.read_csv(study / "claims.csv", dtype=str, keep_default_na=False)
    claims.drop(columns="made_from").to_csv(study / "claims.csv", index=False)
    for figure, suffix in product(FIGURES, DRAWN):
        write_text(study / "figures" / f"{figure}.{suffix}", "drawn")
    write_text(study / "summary.md", "# Preset tiny\n\n2 runs, seeds 0, 1; 0.01 hours of training")
    rows = json.dumps([[run.digest, 80.0] for run in RUNS])
    write_text(study / "report.html", f"<script>{rows}</script>")


def test_a_study_of_older_code_is_packed(study: Path) -> None:
    as_of_older_code(study)
    main(["archive", str(study), "--citation", str(CITATION)])


def test_pages_of_older_code_that_have_other_runs_are_refused(study: Path) -> None:
    as_of_older_code(study)
    runs = [*RUNS, quick_run(tasks=2, epochs=1, seed=2)]
    small_study(study, runs, finished=runs[2:])
    collect(runs, study)
    assert refusal(study).endswith(
        "summary.md: not made from the summary.csv that is there; call again: `dstcl summary`, "
        "`dstcl report`, `dstcl overview`"
    )


def test_where_some_files_say_what_they_were_made_from_all_must(study: Path) -> None:
    write_text(study / "summary.md", "2 runs, seeds 0, 1; 0.01 hours of training")
    reason = "summary.md: does not say from which tables it was made; call again: `dstcl summary`"
    assert refusal(study).endswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- one\n", "not a mapping"),
        ("title: T\nlicense: MIT\nauthors: [{name: A}]\n", "no version"),
        ("title: T\nversion: 1\nlicense: MIT\nauthors: A\n", "authors is not a list"),
        ("title: T\nversion: 1\nlicense: MIT\nauthors: [{alias: a}]\n", "an author without name"),
    ],
)
def test_a_citation_that_lacks_something_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    write_text(tmp_path / "CITATION.cff", text)
    with pytest.raises(ValueError, match=rf"CITATION\.cff: {reason}"):
        read_citation(tmp_path / "CITATION.cff")


def test_the_command_says_what_it_packed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["archive", str(study), "--citation", str(CITATION)])
    said = capsys.readouterr().err
    assert study.with_name("tiny.zip").is_file()
    assert "2 runs" in said
    assert "could not be verified" not in said


def test_runs_without_digests_are_packed_and_told(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(study, RUNS[1], seal=False)
    main(["archive", str(study), "--citation", str(CITATION)])
    assert "1 of 2 runs have no digests of their files" in capsys.readouterr().err


def test_in_a_folder_without_a_citation_that_of_the_package_is_used_and_named(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["archive", "tiny"])
    [line] = [line for line in capsys.readouterr().err.splitlines() if "authors" in line]
    assert "CITATION.cff" in line
    assert "--citation" in line
    there = unpacked(tmp_path / "tiny.zip", tmp_path / "there")
    assert read_json(there / "zenodo.json")["creators"] == [{"name": "The dstcl developers"}]
    assert (there / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()

    text = CITATION.read_text().replace("The dstcl developers", "Others")
    write_text(tmp_path / "CITATION.cff", text)
    main(["archive", "tiny"])
    assert "authors" not in capsys.readouterr().err
    other = unpacked(tmp_path / "tiny.zip", tmp_path / "other")
    assert read_json(other / "zenodo.json")["creators"] == [{"name": "Others"}]
