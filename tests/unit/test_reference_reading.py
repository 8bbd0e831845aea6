"""The paper's PDF: lines and words to rows; what is not this PDF is refused."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from dstcl.cli import main
from dstcl.reference.curves import CURVE_COLUMNS, Layout, curve_rows
from dstcl.reference.panels import LayoutError, Panel, Stroke, Word, legend, read_curves, words
from dstcl.reference.pdf import SHA256, NotThePaperError, read_pdf
from dstcl.reference.tables import GROWTHS, TABLE_COLUMNS, table_rows, text_lines

NUMBERS = Path(__file__).parents[2] / "reference" / "paper"
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
FRAME = [[(10.0, 0.0), (90.0, 0.0)], [(10.0, 100.0), (90.0, 100.0)]]


def y(accuracy: float) -> float:
    """The height of an accuracy in `panel`: 40 % at 20, 80 % at 60."""
    return accuracy - 20


def panel(*strokes: Stroke, names: tuple[tuple[str, float], ...] = ()) -> Panel:
    """A panel with grid lines at 40, 60 and 80 %, and names of a legend at heights."""
    grid = [[(10.0, y(value)), (90.0, y(value))] for value in (40, 60, 80)]
    upright = [[(10.0, 0.0), (10.0, 100.0)]]
    labels = [Word(str(value), 2, 8, y(value) - 2.4) for value in (80, 40, 60)]
    legends = [Word(name, 72, 89, height - 2) for name, height in names]
    return Panel([*labels, *legends, Word("1", 12, 14, -8)], strokes, [*upright, *grid, *FRAME])


def curve(color: tuple[float, ...], *accuracies: float) -> Stroke:
    return Stroke(color, [(20.0 + 10 * k, y(value)) for k, value in enumerate(accuracies)])


def sample(color: tuple[float, ...], height: float) -> Stroke:
    return Stroke(color, [(60.0, height), (65.0, height), (70.0, height)])


# panels


def test_a_curve_is_read_on_the_scale_of_the_labelled_lines() -> None:
    (found,) = read_curves(panel(curve(RED, 80, 61.25, 50, 40.5)), tasks=4)
    assert found.accuracy == pytest.approx([80, 61.25, 50, 40.5])
    assert (found.low, found.high) == ([], [])


def test_a_band_belongs_to_the_curve_of_its_colour() -> None:
    edge = [(20, y(55)), (20, y(45)), (30, y(48)), (30, y(52)), (20, y(55))]
    band = Stroke(BLUE, [(float(x), height) for x, height in edge], filled=True)
    red, blue = read_curves(panel(band, curve(RED, 70, 60), curve(BLUE, 50, 50)), tasks=2)
    assert (red.low, red.high) == ([], [])
    assert (blue.low, blue.high) == (pytest.approx([45, 48]), pytest.approx([55, 52]))


def test_a_band_that_ends_before_its_curve_is_refused() -> None:
    band = Stroke(RED, [(20.0, y(55)), (20.0, y(45))], filled=True)
    with pytest.raises(LayoutError, match="ends before its curve"):
        read_curves(panel(band, curve(RED, 50, 50)), tasks=2)


def test_the_scale_holds_where_the_frame_lies_on_a_line_of_the_grid() -> None:
    drawn = panel(curve(RED, 61, 60, 59, 58))
    frame = [[(10.0, 0.0), (90.0, 0.0)], [(10.0, y(80)), (90.0, y(80))]]
    (found,) = read_curves(Panel(drawn.words, drawn.strokes, [*drawn.grid[:-2], *frame]), tasks=4)
    assert found.accuracy == pytest.approx([61, 60, 59, 58])


@pytest.mark.parametrize(("drop", "reason"), [(Word("60", 2, 8, y(60) - 2.4), "2 labels at 3")])
def test_labels_and_lines_must_match(drop: Word, reason: str) -> None:
    whole = panel(curve(RED, 50, 50))
    lacking = Panel([w for w in whole.words if w != drop], whole.strokes, whole.grid)
    with pytest.raises(LayoutError, match=reason):
        read_curves(lacking, tasks=2)


def test_a_panel_without_lines_is_refused() -> None:
    with pytest.raises(LayoutError, match="without an axis"):
        read_curves(Panel([], [curve(RED, 50, 50)], []), tasks=2)


def test_a_legend_names_colours_by_height_and_is_no_curve() -> None:
    drawn = panel(
        sample(RED, 90),
        sample(BLUE, 80),
        curve(RED, 50, 50, 50, 50),
        names=(("unfired", 80), ("random", 90)),
    )
    assert legend(drawn) == {RED: "random", BLUE: "unfired"}
    assert [found.color for found in read_curves(drawn, tasks=4)] == [RED]


def test_a_legend_without_words_is_refused() -> None:
    with pytest.raises(LayoutError, match="no name"):
        legend(panel(sample(RED, 90)))


def test_characters_become_words_and_lines() -> None:
    glyphs = [
        Word("b", 16, 20, 50.2),
        Word("a", 12, 16, 50.0),
        Word("c", 23, 27, 49.9),
        Word("d", 12, 16, 40.0),
        Word(" ", 16, 18, 40.0),
        Word("e", 18, 22, 40.0),
    ]
    found = words(glyphs)
    assert [word.text for word in found] == ["ab", "c", "d", "e"]
    assert text_lines(found) == ["ab c", "d e"]


# curves


def rows_of(*panels: Panel, tasks: int = 4) -> list[dict[str, object]]:
    layout = Layout("9", "cifar100", tasks, "resnet18", ("erk",), (0.2, 0.1)[: len(panels)])
    return curve_rows(panels, [layout])


def test_points_are_rows_in_the_order_of_drawing() -> None:
    named = panel(
        sample(RED, 90),
        sample(BLUE, 80),
        curve(BLUE, 50, 51, 52, 53),
        curve(RED, 60.12345678, 61, 62, 63),
        names=(("random", 90), ("gradient", 80)),
    )
    other = panel(curve(RED, 44, 44, 44, 44), curve(BLUE, 45, 45, 45, 45))
    rows = rows_of(named, other)
    assert len(rows) == 16
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert [row["growth"] for row in rows[::4]] == ["gradient", "random", "random", "gradient"]
    assert [row["density"] for row in rows[::4]] == [0.2, 0.2, 0.1, 0.1]
    assert [row["task"] for row in rows[:4]] == [1, 2, 3, 4]
    assert rows[4]["accuracy_percent"] == 60.1235
    assert {row["band_low"] for row in rows} == {""}


@pytest.mark.parametrize("name", ["T=400", "ΔT=400", "\u2206T=400"])
def test_an_interval_in_the_legend_is_random_growth(name: str) -> None:
    (row, *_) = rows_of(panel(sample(RED, 90), curve(RED, 5, 5, 5, 5), names=((name, 90),)))
    assert (row["growth"], row["update_every"]) == ("random", 400)


def test_a_panel_too_many_and_a_curve_without_name_are_refused() -> None:
    named = panel(sample(RED, 90), curve(RED, 5, 5, 5, 5), names=(("random", 90),))
    with pytest.raises(LayoutError, match="2 panels instead of 1"):
        curve_rows([named, named], [Layout("9", "cifar100", 4, "resnet18", ("erk",), (0.2,))])
    with pytest.raises(LayoutError, match="Figure 9, erk, density 0.1: 2 curves, a legend of 1"):
        rows_of(named, panel(curve(RED, 5, 5, 5, 5), curve(BLUE, 5, 5, 5, 5)))


# tables


def printed(table: str) -> list[str]:
    """The lines of a table whose numbers count up by a hundredth, ten a line."""
    lines = [f"Table {table}: scores", "words between"]
    for half in range(2):
        lines += ["sparsity 0.8 0.9 0.95", "ACC BWT FWT ACC BWT FWT"]
        for place, growth in enumerate(GROWTHS):
            start = 1000 * half + 100 * place
            cells = [f"{(start + k) / 100:.2f} ±{k}.50 " for k in range(9)]
            lines.append(" ".join([growth, *cells]).replace(" ±3", "±3"))
    return lines


def test_tables_are_read_cell_by_cell() -> None:
    rows = table_rows([printed("1") + printed("2"), ["nothing here"], printed("3"), printed("4")])
    assert len(rows) == 96
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert [row["table"] for row in rows[::24]] == ["1", "2", "3", "4"]
    assert [row["tasks"] for row in rows[::24]] == [20, 10, 10, 5]
    cell = rows[12 + 3 * 3 + 1]
    assert (cell["init"], cell["growth"], cell["density"]) == ("erk", "momentum", 0.1)
    assert (cell["acc"], cell["acc_pm"], cell["fwt"]) == ("13.03", "3.50", "13.05")


def test_a_line_that_lacks_a_number_is_refused() -> None:
    lines = printed("1")
    lines[4] = lines[4].rsplit("±", 1)[0]
    with pytest.raises(LayoutError, match="Table 1, uniform: 17 numbers in 'random"):
        table_rows([lines])


def test_missing_lines_and_missing_tables_are_refused() -> None:
    with pytest.raises(LayoutError, match="24 cells instead of 96"):
        table_rows([printed("1")])
    with pytest.raises(LayoutError, match="Table 1, erk: 3 lines"):
        table_rows([printed("1")[:-1]])


# files


def message(*arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, str)
    assert len(caught.value.code.splitlines()) == 1
    return caught.value.code


@pytest.mark.parametrize(
    ("content", "kind"), [(b"%PDF-1.5\nanother\n", "another PDF"), (b"text", "not a PDF")]
)
def test_what_is_not_the_paper_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "some.pdf"
    path.write_bytes(content)
    said = message("reference", "read", str(path), "--out", str(tmp_path / "out"))
    assert f"{path}: {kind}" in said
    assert SHA256 in said
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "gone.pdf: No such file" in message("reference", "read", str(tmp_path / "gone.pdf"))
    assert "Is a directory" in message("reference", "read", str(tmp_path))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"x")
    monkeypatch.setattr("dstcl.reference.pdf.check", lambda path: None)
    monkeypatch.setitem(sys.modules, "pdfminer.high_level", None)
    with pytest.raises(NotThePaperError, match=r"pdfminer\.six: pip install"):
        read_pdf(path)


def test_the_paper_is_read_as_recorded(tmp_path: Path) -> None:
    if not (paper := os.environ.get("DSTCL_PAPER_PDF")):
        pytest.skip("$DSTCL_PAPER_PDF does not name the paper's PDF")
    pytest.importorskip("pdfminer", reason="pdfminer.six is not installed")
    main(["reference", "read", paper, "--out", str(tmp_path)])
    for name in ("tables.csv", "curves.csv"):
        assert (tmp_path / name).read_bytes() == (NUMBERS / name).read_bytes()


def test_the_digest_is_named_where_the_source_is_described() -> None:
    assert re.search(rf"`{SHA256}`", (NUMBERS / "README.md").read_text())
