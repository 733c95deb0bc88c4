"""Building blocks of the Grafana dashboards: panels, variables, annotations, and a layout that wraps like text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA = 41  # of Grafana 11.6
_WIDTH = 24  # of the grid


@dataclass(frozen=True)
class Query:
    """One expression."""

    expr: str
    legend: str = ""
    now: bool = False
    """An instant query: its value at the end of the time range."""
    table: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel, without its position."""

    title: str
    text: str
    """The panel's description: what it shows, and which values are bad."""
    type: str
    queries: Sequence[Query]
    width: int
    height: int
    defaults: Json
    options: Json
    more: Json = field(default_factory=dict)


def lines(
    title: str,
    text: str,
    *queries: Query,
    unit: str = "short",
    width: int = 12,
    stacked: bool = False,
    limit: float | None = None,
    most: float | None = None,
    signed: bool = False,
) -> Panel:
    """Curves over time; `limit` draws the threshold of an alert; `signed` curves may be below 0."""
    custom: Json = {"fillOpacity": 40 if stacked else 5, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults: Json = {"unit": unit, "custom": custom}
    if not signed:
        defaults["min"] = 0
    if most is not None:
        defaults["max"] = most
    if limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps: list[Json] = [{"value": None, "color": "green"}, {"value": limit, "color": "red"}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    options: Json = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(title, text, "timeseries", queries, width, 8, defaults, options)


def figure(
    title: str,
    text: str,
    query: Query,
    *,
    unit: str = "short",
    width: int = 4,
    bad: float | None = None,
    good: float | None = None,
) -> Panel:
    """The current value: red from `bad` up, or below `good`."""
    steps: list[Json] = [{"value": None, "color": "green"}]
    if bad is not None:
        steps.append({"value": bad, "color": "red"})
    if good is not None:
        steps = [{"value": None, "color": "red"}, {"value": good, "color": "green"}]
    defaults: Json = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    options: Json = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return Panel(title, text, "stat", [query], width, 4, defaults, options)


def states(title: str, text: str, query: Query, on: str, off: str, *, width: int = 24) -> Panel:
    """When a series was 1 and when 0, as one band per series."""
    mapping: Json = {
        "type": "value",
        "options": {
            "0": {"text": off, "color": "green", "index": 0},
            "1": {"text": on, "color": "orange", "index": 1},
        },
    }
    options: Json = {
        "showValue": "never",
        "mergeValues": True,
        "rowHeight": 0.8,
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults: Json = {"mappings": [mapping], "custom": {"fillOpacity": 70, "lineWidth": 0}}
    return Panel(title, text, "state-timeline", [query], width, 5, defaults, options)


def bars(
    title: str, text: str, query: Query, *, unit: str = "short", width: int = 12, most: float | None = None
) -> Panel:
    """The current value of each series as a bar."""
    defaults: Json = {"unit": unit, "min": 0, "color": {"mode": "continuous-GrYlRd"}}
    if most is not None:
        defaults["max"] = most
    options: Json = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "gradient",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
    }
    return Panel(title, text, "bargauge", [query], width, 8, defaults, options)


def table(title: str, text: str, columns: Sequence[tuple[str, str, str]], by: str) -> Panel:
    """One row per value of the label `by`; a column is a heading, an expression and a unit."""
    queries = [Query(expr, now=True, table=True) for _, expr, _ in columns]
    renamed = {f"Value #{_ref(place)}": heading for place, (heading, _, _) in enumerate(columns)}
    overrides = [
        {"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}]}
        for heading, _, unit in columns
    ]
    more: Json = {
        "transformations": [
            {"id": "merge", "options": {}},  # all share one timestamp, which leaves one row per value of the label
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": renamed}},
        ],
        "overrides": overrides,
    }
    options: Json = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": by, "desc": False}]}
    return Panel(title, text, "table", queries, _WIDTH, 8, {"decimals": 2}, options, more)


def annotation(name: str, expr: str, text: str, color: str) -> Json:
    """Marks all curves where the expression is above 0; adjacent marks become one region."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expr,
        "step": "15s",
        "titleFormat": name,
        "textFormat": text,
    }


def choice(name: str, label: str, query: str, *, several: bool = True) -> Json:
    """A variable with the values of a label."""
    made: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,  # by name
        "multi": several,
        "includeAll": several,
    }
    if several:
        made |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return made


def dashboard(
    title: str, text: str, rows: Iterable[tuple[str, Sequence[Panel]]], variables: Sequence[Json], marks: Sequence[Json]
) -> Json:
    """Panels from left to right, wrapped where one does not fit, with a row heading above each group."""
    panels: list[Json] = []
    y = 0
    for heading, group in rows:
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        panels.append(
            {"type": "row", "id": len(panels) + 1, "title": heading, "collapsed": False, "gridPos": place, "panels": []}
        )
        x, y, tallest = 0, y + 1, 0
        for panel in group:
            if x + panel.width > _WIDTH:
                x, y, tallest = 0, y + tallest, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, len(panels) + 1, place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    source: Json = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    return {
        "uid": f"thalweg-{title.lower()}",
        "title": f"Thalweg: {title}",
        "description": text,
        "tags": ["thalweg"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # shared crosshair
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "title": "Thalweg",
                "type": "dashboards",
                "tags": ["thalweg"],
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [source, *variables]},
        "annotations": {"list": list(marks)},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: Json) -> Json:
    more = dict(panel.more)
    return {
        "type": panel.type,
        "id": number,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [_target(query, _ref(number)) for number, query in enumerate(panel.queries)],
        "options": panel.options,
        "fieldConfig": {"defaults": panel.defaults, "overrides": more.pop("overrides", [])},
        **more,
    }


def _target(query: Query, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.now,
        "range": not query.now,
        "format": "table" if query.table else "time_series",
    }


def _ref(place: int) -> str:
    return chr(ord("A") + place)
