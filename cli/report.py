"""Print a finished run's numbers, or the mean of several runs', as a table; or publish them in a document."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from ..core.files import write_json, write_text
from ..core.stats import mean_of_runs
from ._verb import Verb

_MEASURED = ("value", "low", "high", "n")
_NUMBERS = ("metric", *_MEASURED)


@dataclass(frozen=True)
class ReportConfig:
    """Keys of `kalie report`.

    Attributes:
        run: a run directory, e.g. outputs/bench/latest. A pattern, e.g. 'outputs/eval/archer-*', is several
            runs, such as one of each seed: their figures' mean, and Student's interval over the runs.
        metric: only this metric; empty for all.
        columns: a label, e.g. task, whose values become the table's columns; needs a metric.
        document: a Markdown file to publish into; its block between `<!-- begin NAME -->` and
            `<!-- end NAME -->` is replaced, and the summary is copied to results/NAME.json beside it.
        name: of the block.
    """

    run: Path
    metric: str = ""
    columns: str = ""
    document: Path | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if (self.document is None) != (not self.name):
            raise ValueError("document and name go together")
        if self.columns and not self.metric:
            raise ValueError(f"columns={self.columns} needs one metric")


def read_summary(run: Path) -> dict[str, Any]:
    """A run's summary.

    Raises:
        ValueError: there is none, or it cannot be read; names the file.
    """
    path = run / "summary.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: not found; a run writes it when it ends") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def summary_of(run: Path) -> dict[str, Any]:
    """The summary of a run, or of all runs that a pattern names.

    Raises:
        ValueError: there is none, or the runs have not the same rows.
    """
    if not glob.has_magic(str(run)) or run.is_dir():
        return read_summary(run)
    root = Path(run.anchor)
    folders = sorted(
        path for path in root.glob(str(run.relative_to(root))) if path.is_dir() and not path.is_symlink()
    )
    if not folders:
        raise ValueError(f"{run}: no such runs")
    return mean_summary({folder: read_summary(folder) for folder in folders})


def mean_summary(runs: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """One summary of several runs; `runs` keeps each one's own.

    Raises:
        ValueError: a run lacks a row that another has; names both.
    """
    tables = {run: {_labels(row): row for row in summary["rows"]} for run, summary in runs.items()}
    first, *others = tables
    for other in others:
        if only := tables[first].keys() ^ tables[other].keys():
            labels = next(iter(only))
            raise ValueError(f"{first} and {other}: only one of them has a row {dict(labels)}")
    rows = []
    for labels, row in tables[first].items():
        same = [table[labels] for table in tables.values()]
        value, low, high, n = mean_of_runs([one["value"] for one in same], sum(one["n"] or 0 for one in same))
        rows.append({**row, "value": value, "low": low, "high": high, "n": n})
    summaries = list(runs.values())
    return {
        "command": "; ".join(summary["command"] for summary in summaries),
        "seeds": list(dict.fromkeys(seed for summary in summaries for seed in summary["seeds"])),
        "seconds": sum(summary["seconds"] for summary in summaries),
        "peak_bytes": max(summary["peak_bytes"] for summary in summaries),
        "rows": rows,
        "runs": summaries,
    }


def _labels(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What a row is about."""
    return tuple((key, value) for key, value in row.items() if key not in _MEASURED)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tidy rows as a Markdown table: the labels, then value, 95 % interval and number of observations."""
    labels = list(dict.fromkeys(key for row in rows for key in row if key not in _NUMBERS))
    lines = [
        "| " + " | ".join([*labels, "metric", "value", "95 % interval", "n"]) + " |",
        "|" + " --- |" * len(labels) + " --- | ---: | --- | ---: |",
    ]
    for row in rows:
        cells = [*(row.get(label) for label in labels), row["metric"], _number(row["value"]), _interval(row)]
        shown = ["" if cell is None else str(cell) for cell in [*cells, row["n"]]]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def wide_table(rows: Sequence[Mapping[str, Any]], columns: str) -> str:
    """One metric's rows as a Markdown table: a column for every value of a label, a row for all others.

    Raises:
        ValueError: no row has that label; names those there are.
    """
    found = list(dict.fromkeys(row[columns] for row in rows if columns in row))
    labels = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if key not in _NUMBERS or key == "metric"
    ]
    if not found:
        raise ValueError(f"columns={columns}: no such label; there are {', '.join(labels)}")
    labels.remove(columns)
    table: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        table.setdefault(tuple(str(row.get(label, "")) for label in labels), {})[row[columns]] = row
    lines = ["| " + " | ".join([*labels, *found]) + " |", "|" + " --- |" * (len(labels) + len(found))]
    for names, cells in table.items():
        shown = [_cell(cells[name]) if name in cells else "" for name in found]
        lines.append("| " + " | ".join([*names, *shown]) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    """E.g. "0.93 [0.88, 0.96] n=100"."""
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['value']:.2f}{interval} n={row['n']}"


def _rows_of(summary: Mapping[str, Any], metric: str) -> list[Mapping[str, Any]]:
    """The rows of one metric, or all of them. Raises ValueError naming the metrics there are."""
    rows = [row for row in summary["rows"] if metric in ("", row["metric"])]
    if metric and not rows:
        there = ", ".join(dict.fromkeys(row["metric"] for row in summary["rows"])) or "none"
        raise ValueError(f"metric={metric}: no such metric; there are {there}")
    return rows


def describe(summary: Mapping[str, Any]) -> str:
    """The command, or how many runs, their seeds, time and memory, as one line."""
    seeds = ", ".join(map(str, summary["seeds"]))
    runs = summary.get("runs", [])
    what = (
        f"Mean of {len(runs)} runs (`{runs[0]['command']}` and alike)" if runs else f"`{summary['command']}`"
    )
    return (
        f"{what}, seeds {seeds}, {summary['seconds'] / 60:.0f} minutes, "
        f"peak {summary['peak_bytes'] / 2**30:.1f} GiB"
    )


def publish(document: Path, name: str, summary: Mapping[str, Any], table: str) -> None:
    """Replace a block of a Markdown document by a run's table, and keep the summary beside it.

    Raises:
        ValueError: the document has no such block.
    """
    text = document.read_text("utf-8")
    block = re.compile(rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"{document}: no block '<!-- begin {name} -->' … '<!-- end {name} -->'")
    body = f"{describe(summary)}\n\n{table}\n"
    write_json(document.parent / "results" / f"{name}.json", summary)
    write_text(document, block.sub(lambda match: match[1] + body + match[2], text))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"[{_number(row['low'])}, {_number(row['high'])}]"


def main(cfg: ReportConfig) -> None:
    """Print the table, or publish it."""
    summary = summary_of(cfg.run)
    rows = _rows_of(summary, cfg.metric)
    table = wide_table(rows, cfg.columns) if cfg.columns else markdown_table(rows)
    if cfg.document is not None:
        publish(cfg.document, cfg.name, summary, table)
        return
    Console().print(Markdown(f"{describe(summary)}\n\n{table}"))


VERB = Verb(
    ReportConfig,
    main,
    examples=(
        "kalie report run=outputs/bench/latest metric=success columns=task",
        "kalie report 'run=outputs/eval/tuned-*' metric=success",
        "kalie report run=outputs/bench/latest document=docs/results.md name=benchmark",
    ),
)
