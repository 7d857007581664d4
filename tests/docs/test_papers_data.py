"""The reported numbers of the papers: complete, strict, and equal to what they were taken from."""

import csv
import os
import re
from pathlib import Path

import pytest
from places import ROOT

from analysis.reported import COLUMNS, load_reported
from reproduce.errors import UserError

PAPERS = ROOT / "data" / "papers"
SOURCES = Path(os.environ.get("REPRODUCE_PAPER_RESULTS") or ROOT.parent / "shared" / "paper_results")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def reported():
    return load_reported(PAPERS)


def value(frame, **where):
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1
    return frame["value"].iloc[0]


def test_known_cells(reported):
    assert len(reported) == 1043
    assert value(reported, file="aepo_table_abstract", dataset="GAIA", metric="accuracy, pass@1") == "47.6"
    assert value(reported, file="arpo_table2", model="Qwen3-14B", method="ARPO", dataset="GAIA Avg.") == "43.7"
    assert value(reported, file="epo_table2", metric="hyper-parameter: Optimizer") == "AdamW"


def test_numbers_are_parsed_where_the_cell_is_one(reported):
    plain = reported["value"].str.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?")
    assert (reported["number"].notna() == plain).all()
    assert (reported.loc[plain, "number"] == reported.loc[plain, "value"].astype(float)).all()


def test_who_reports_is_told_apart(reported):
    by_file = reported.groupby("file")["reported_by"].agg(set)
    assert by_file["arpo_table1"] == {"the paper"}
    assert by_file["aepo_table_readme_qwq32b"] == {"the authors, outside the paper"}
    assert all(by_file[name] == {"third party"} for name in by_file.index if "thirdparty" in name)
    third = reported[reported["paper"].str.contains("third|RAPO|RLVMR")]
    assert set(third["reported_by"]) == {"third party"}
    assert set(reported[reported["file"] == "aepo_table_lowconfidence"]["confidence"]) == {"low"}


def test_every_source_has_a_public_address(reported):
    assert reported["source_url"].str.fullmatch(r"https://[a-z.]+/\S+").all()
    arxiv = reported["source"].str.extract(r"arXiv (\d{4}\.\d{5})")[0]
    linked = reported["source_url"].str.extract(r"arxiv\.org/\w+/(\d{4}\.\d{5})")[0]
    assert (arxiv[linked.notna()] == linked[linked.notna()]).all()


def test_the_readme_lists_every_file():
    readme = (PAPERS / "README.md").read_text()
    for path in PAPERS.glob("*.csv"):
        assert f"`{path.name}`" in readme


@pytest.mark.skipif(not SOURCES.is_dir(), reason="source tables not found; set REPRODUCE_PAPER_RESULTS to their folder")
def test_no_value_changed_and_no_row_lost():
    def bare(text: str) -> str:
        return re.sub(r"\s*\([^)]*\)", "", text)

    # evaluations of released checkpoints by others have columns of their own, and no table shows them yet
    sources = [path for path in sorted(SOURCES.glob("*.csv")) if path.name != "thirdparty_checkpoint_evaluations.csv"]
    assert {path.name for path in PAPERS.glob("*.csv")} == {path.name for path in sources}
    for path in sources:
        theirs, ours = read(path), read(PAPERS / path.name)
        assert len(ours) == len(theirs), path.name
        for source, kept in zip(theirs, ours, strict=True):
            for column in ("model", "method", "dataset", "value"):
                assert kept[column] == source[column], (path.name, source)
            assert kept["split"] == source.get("split", "-")
            assert bare(kept["metric"]) == bare(source["metric"])
            assert bare(kept["table"]) == bare(source["table"])


ROW = dict.fromkeys(COLUMNS, "x") | {"reported_by": "the paper", "confidence": "high"}


def write(directory: Path, header: str, *rows: str) -> Path:
    path = directory / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (",".join(COLUMNS[:-1]), ",".join(["x"] * 11), "columns are .*; expected"),
        (",".join((*COLUMNS, "extra")), ",".join(["x"] * 13), "columns are .*; expected"),
        (",".join(COLUMNS), "x,y", "line 2: 2 cells, expected 12"),
        (",".join(COLUMNS), ",".join((ROW | {"value": " "}).values()), "line 2: column 'value' is blank"),
        (
            ",".join(COLUMNS),
            ",".join((ROW | {"confidence": "medium"}).values()),
            "line 2: column 'confidence' is 'medium'",
        ),
        (",".join(COLUMNS), ",".join((ROW | {"reported_by": "us"}).values()), "line 2: column 'reported_by' is 'us'"),
    ],
)
def test_bad_files_are_named(tmp_path, header, row, message):
    path = write(tmp_path, header, row)
    with pytest.raises(UserError, match=message) as error:
        load_reported(tmp_path)
    assert str(path) in str(error.value)


def test_a_good_file_and_an_empty_directory(tmp_path):
    with pytest.raises(UserError, match="no CSV file"):
        load_reported(tmp_path)
    write(tmp_path, ",".join(COLUMNS), ",".join(ROW.values()))
    assert load_reported(tmp_path).loc[0, "paper"] == "x"
