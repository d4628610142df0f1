"""The benchmark's numbers as summary rows, report tables and plots; shared by `bench` and `demo`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..core.plots import interval_chart
from ..core.report import Report, Role, Section
from ..core.runs import Run
from ..core.stats import Interval
from ..sim.benchmark import CEILINGS, FLOORS, ArmName, Comparison, Score

ARM_TITLES: dict[ArmName, str] = {
    "zero_shot": "no task images: the model as it is",
    "photos": "labelled photos, no augmentation",
    "photos_augmented": "labelled photos + augmentation",
    "geometry_only": "labelled photos + geometry-only synthesis",
    "appearance_only": "labelled photos + appearance-only synthesis",
    "full": "labelled photos + synthesis",
    "full_10": "10 labelled photos + synthesis",
    "full_1": "1 labelled photo + synthesis",
    "rendered": "rendered images of the test families",
    "oracle": "oracle keypoints",
    "random": "random points on objects",
}


def percent(interval: Interval) -> str:
    """E.g. "93 % [88, 96]"."""
    return f"{100 * interval.value:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def points(interval: Interval) -> str:
    """A difference in percentage points, e.g. "+41 [+35, +47]"."""
    return f"{100 * interval.value:+.0f} [{100 * interval.low:+.0f}, {100 * interval.high:+.0f}]"


def add_rows(run: Run, table: Sequence[Score], compared: Sequence[Comparison]) -> None:
    """Put every number with its interval into the run's summary."""
    for score in table:
        run.add_row("success", *score.success, task=score.task, arm=score.arm)
        run.add_row("pck_5_percent", *score.pck, task=score.task, arm=score.arm)
        run.add_row("invalid", *score.invalid, task=score.task, arm=score.arm)
    for item in compared:
        run.add_row("difference", *item.difference, task=item.task, arm=item.arm, other=item.other)


def role(arm: ArmName) -> Role:
    """Whether an arm is a floor or a ceiling of the table."""
    return "floor" if arm in FLOORS else "ceiling" if arm in CEILINGS else ""


def score_table(section: Section, table: Sequence[Score]) -> None:
    """One table per task: success, PCK and unusable answers by arm."""
    for name in dict.fromkeys(score.task for score in table):
        rows = [score for score in table if score.task == name]
        section.table(
            ["arm", "learned from", "success", "episodes", "PCK@5 %", "unusable answers"],
            [
                [
                    s.arm,
                    ARM_TITLES[s.arm],
                    percent(s.success),
                    s.success.n,
                    percent(s.pck),
                    percent(s.invalid),
                ]
                for s in rows
            ],
            roles=[role(s.arm) for s in rows],
            caption="all tasks pooled" if name == "all" else name,
        )


def comparison_table(section: Section, compared: Sequence[Comparison]) -> None:
    """Differences in success on the same scenes, percentage points with paired bootstrap intervals."""
    section.table(
        ["task", "arm", "against", "difference in points"],
        [[item.task, item.arm, item.other, points(item.difference)] for item in compared],
        caption="same scenes; paired bootstrap over episodes, 95 %",
    )


def write_report(
    run: Run, title: str, table: Sequence[Score], compared: Sequence[Comparison], config: object
) -> None:
    """Write report/index.html of a benchmark run."""
    report = Report(title, subtitle="success on object families that no training image shows")
    section = report.section("Success")
    pooled = [score for score in table if score.task == "all"]
    section.plot(interval_chart({s.arm: s.success for s in pooled}, "success"), "all tasks pooled")
    score_table(section, table)
    if compared:
        comparison_table(report.section("Comparisons"), compared)
    report.section("Configuration").text(json.dumps(config, indent=1))
    report.write(run.path / "report" / "index.html")
