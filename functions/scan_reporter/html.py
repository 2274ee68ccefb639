"""Draw a run's report as one HTML file that needs nothing else: no script, no font, no picture."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

COLOURS = {
    "done": "#2e7d32",
    "ignored": "#9e9e9e",
    "rejected": "#ef6c00",
    "failed": "#c62828",
    "left": "#d7d3ca",
}
SVG = "{http://www.w3.org/2000/svg}"


def render(report: Mapping[str, Any]) -> bytes:
    """Return the report. Whatever it says of items comes escaped: names and messages are from outside.

    Args:
        report: as `closing.report` returns it.
    """
    charts = [chart for chart in (_outcomes(report), _stages(report), _causes(report)) if chart is not None]
    return _template().render(report=report, charts=charts).encode("utf-8", "replace")


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)


@cache
def _pygal() -> Any:
    """Return pygal, without the finder of modules that it leaves behind.

    That looks for its plugins in a way that Python 3.12 has done away with, and older ones warn of.
    """
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


def _outcomes(report: Mapping[str, Any]) -> "Markup | None":
    counts = {name: report["items"].get(name) or 0 for name in COLOURS}
    if not any(counts.values()):
        return None
    chart = _pygal().Pie(**_options("Items", [COLOURS[name] for name in counts]), inner_radius=0.55)
    for name, count in counts.items():
        chart.add(f"{name} {count}", count)
    return _svg(chart)


def _stages(report: Mapping[str, Any]) -> "Markup | None":
    stages = report["by_stage"]
    if not stages:
        return None
    names = [name for name in COLOURS if name != "left"]
    chart = _pygal().HorizontalStackedBar(**_options("Stages", [COLOURS[name] for name in names]))
    chart.x_labels = list(stages)
    for name in names:
        chart.add(name, [counts.get(name, 0) for counts in stages.values()])
    return _svg(chart)


def _causes(report: Mapping[str, Any]) -> "Markup | None":
    causes = report["causes"][:10]
    if not causes:
        return None
    chart = _pygal().HorizontalBar(**_options("Why", [COLOURS["failed"]]), show_legend=False)
    chart.x_labels = [f"{cause['stage']}: {cause['code']}" for cause in causes]
    chart.add("items", [cause["items"] for cause in causes])
    return _svg(chart)


def _options(title: str, colours: list[str]) -> dict[str, Any]:
    return {
        "title": title,
        "style": _pygal().style.Style(
            colors=colours,
            background="transparent",
            plot_background="transparent",
            font_family="system-ui, sans-serif",
        ),
        "js": (),
        "width": 560,
        "height": 320,
        "legend_at_bottom": True,
        "print_values": False,
        "disable_xml_declaration": True,
    }


def _svg(chart: Any) -> "Markup":
    """Return a chart without the scripts that pygal adds for tooltips; it is shown where none may run."""
    from markupsafe import Markup

    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for child in list(parent):
            if str(child.tag).rpartition("}")[2] == "script":
                parent.remove(child)
    ElementTree.register_namespace("", SVG[1:-1])
    drawn = ElementTree.tostring(tree, encoding="unicode")
    return Markup(drawn)  # noqa: S704 - written by an XML writer, which escapes every label
