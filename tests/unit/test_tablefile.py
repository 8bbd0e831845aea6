"""Damaged tables: one line that names the file and the place, and nothing half read."""

from pathlib import Path

import pandas as pd
import pytest

from dstcl.evaluation.tables import TABLES, read_columns, read_table

COLUMNS = ["digest", "seed", "acc", "note"]
HEADER = "digest,seed,acc,note\n"


def read(folder: Path, text: str | bytes) -> pd.DataFrame:
    path = folder / "summary.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_columns(path, COLUMNS, ["seed", "acc"], ["note"])


def test_a_sound_table_is_read_as_it_is(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER.replace("note", "note,more") + "0123,0,0.5,,x\n0456,1,1e-3,NA,\n")
    assert table["digest"].tolist() == ["0123", "0456"]
    assert table["seed"].tolist() == [0, 1]
    assert table["seed"].dtype.kind == "i"
    assert table["acc"].tolist() == [0.5, 0.001]
    assert table["note"].isna().tolist() == [True, False]
    assert "more" in table


def test_a_varied_setting_is_text_and_may_not_be_missing(tmp_path: Path) -> None:
    header = HEADER.replace("acc", "training.epochs,acc")
    assert read(tmp_path, header + "a,0,0010,1,\n")["training.epochs"].tolist() == ["0010"]
    assert read(tmp_path, header + "a,0,none,1,\n")["training.epochs"].tolist() == ["none"]
    with pytest.raises(ValueError, match=r"summary\.csv: line 2: training\.epochs is missing"):
        read(tmp_path, header + "a,0,,1,\n")


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert list(read(tmp_path, HEADER)) == COLUMNS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digest,acc,note\na,0.5,\n", "no column seed"),
        (HEADER + "a,0,0.5,\nb,1,high,\n", "line 3: acc 'high' is not a number"),
        (HEADER + "a,zero,0.5,\n", "line 2: seed 'zero' is not a number"),
        (HEADER + "a,0,0.5,\nb,1,,\n", "line 3: acc is missing"),
        (HEADER + "a,0,0.5,\nb,1\n", "line 3: acc is missing"),
        (HEADER + ",0,0.5,\n", "line 2: digest is missing"),
        (HEADER + "a,0,inf,\n", "line 2: acc 'inf' is not a number"),
        (HEADER + "a,0,True,\n", "line 2: acc 'True' is not a number"),
        (HEADER + "a,0,0.5,\nb,1,0.5,x,y,z\n", "not a table ("),
        ("", "not a table ("),
        (b"\xff\xfe\x00", "not a table ("),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"summary\.csv: ") as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'summary.csv'}: {message}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_a_study_is_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}\.csv: no such file; `dstcl \w+` writes it"):
        read_table(tmp_path, name)
    columns = TABLES[name].columns
    assert set(TABLES[name].numbers) | set(TABLES[name].blank) <= set(columns)
    for lacking in columns:
        header = ",".join(column for column in columns if column != lacking)
        (tmp_path / f"{name}.csv").write_text(header + "\n")
        with pytest.raises(ValueError, match=rf"{name}\.csv: no column {lacking}$"):
            read_table(tmp_path, name)
