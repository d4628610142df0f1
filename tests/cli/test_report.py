"""`kalie report` prints and publishes exactly what a run measured."""

import json
from pathlib import Path

import pytest

from kalie.cli.report import (
    ReportConfig,
    describe,
    main,
    markdown_table,
    read_summary,
    summary_of,
    wide_table,
)
from kalie.core.files import write_json

ROWS = [
    {
        "task": "sweep",
        "arm": "full",
        "metric": "success",
        "value": 0.925,
        "low": 0.88,
        "high": 0.96,
        "n": 100,
    },
    {"task": "sweep", "metric": "seconds", "value": 120.4, "low": None, "high": None, "n": None},
]
SUMMARY = {"command": "kalie bench", "seeds": [0, 1], "seconds": 600, "peak_bytes": 2**31, "rows": ROWS}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "run" / "summary.json", SUMMARY)
    return tmp_path / "run"


def test_table_shows_value_interval_and_n() -> None:
    lines = markdown_table(ROWS).splitlines()
    assert lines[0] == "| task | arm | metric | value | 95 % interval | n |"
    assert lines[2] == "| sweep | full | success | 0.925 | [0.880, 0.960] | 100 |"
    assert lines[3] == "| sweep |  | seconds | 120 |  |  |"


def test_columns_of_a_label_stand_side_by_side() -> None:
    other = {**ROWS[0], "task": "pour", "value": 0.5, "low": 0.4, "high": 0.6, "n": 80}
    floor = {**other, "arm": "random", "value": 0.0, "low": None, "high": None}
    lines = wide_table([ROWS[0], other, floor], "task").splitlines()
    assert lines[0] == "| arm | metric | sweep | pour |"
    assert lines[2] == "| full | success | 0.93 [0.88, 0.96] n=100 | 0.50 [0.40, 0.60] n=80 |"
    assert lines[3] == "| random | success |  | 0.00 n=80 |"


def test_when_no_row_has_the_label_expect_the_labels_there_are() -> None:
    with pytest.raises(ValueError, match="columns=tsk: no such label; there are task, arm"):
        wide_table(ROWS, "tsk")


def test_when_no_row_has_the_metric_expect_the_metrics_there_are(run: Path, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text("<!-- begin b -->\nold\n<!-- end b -->\n")
    for columns in ("", "task"):
        with pytest.raises(ValueError, match="metric=sucess: no such metric; there are success, seconds"):
            main(ReportConfig(run, "sucess", columns, document, "b"))
    assert "old" in document.read_text()


def test_publishing_replaces_only_its_block_and_keeps_the_numbers(run: Path, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text(
        "before\n<!-- begin b -->\nold\n<!-- end b -->\nafter\n<!-- begin c -->\n<!-- end c -->\n"
    )
    for _ in range(2):
        main(ReportConfig(run, document=document, name="b", metric="success"))
    text = document.read_text()
    assert text.count("| sweep | full | success |") == 1
    assert "old" not in text
    assert text.startswith("before\n<!-- begin b -->\n" + describe(SUMMARY))
    assert text.endswith("after\n<!-- begin c -->\n<!-- end c -->\n")
    assert json.loads((tmp_path / "results" / "b.json").read_text()) == SUMMARY


def test_when_block_or_summary_is_missing_expect_error_naming_it(run: Path, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text("nothing here")
    with pytest.raises(ValueError, match="begin b"):
        main(ReportConfig(run, document=document, name="b"))
    assert document.read_text() == "nothing here"
    with pytest.raises(ValueError, match=r"summary\.json: not found"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_summary(tmp_path)
    with pytest.raises(ValueError, match="go together"):
        ReportConfig(run, name="b")


def test_several_runs_show_their_mean_and_its_interval(run: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "runs" / "a" / "summary.json", SUMMARY)
    better = {**SUMMARY, "seeds": [2], "rows": [{**ROWS[0], "value": 0.975}, ROWS[1]]}
    write_json(tmp_path / "runs" / "b" / "summary.json", better)
    (tmp_path / "runs" / "latest").symlink_to("b")
    mean = summary_of(tmp_path / "runs" / "*")
    assert summary_of(tmp_path / "runs" / "[a-z]") == mean
    assert (mean["seeds"], mean["seconds"], len(mean["runs"])) == ([0, 1, 2], 1200, 2)
    assert (
        markdown_table(mean["rows"]).splitlines()[2]
        == "| sweep | full | success | 0.950 | [0.632, 1.268] | 200 |"
    )
    assert "Mean of 2 runs (`kalie bench` and alike), seeds 0, 1, 2" in describe(mean)
    write_json(tmp_path / "runs" / "b" / "summary.json", {**better, "rows": ROWS[1:]})
    with pytest.raises(ValueError, match=r"only one of them has a row .*'arm': 'full'"):
        summary_of(tmp_path / "runs" / "*")
    with pytest.raises(ValueError, match="no such runs"):
        summary_of(tmp_path / "nothing-*")


def test_printing_shows_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(ReportConfig(run))
    assert "kalie bench" in capsys.readouterr().out
