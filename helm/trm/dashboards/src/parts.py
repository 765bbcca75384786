"""What all dashboards are put together from: queries, panels with the house's looks, rows on a grid, variables, links.

In an expression `{RUN}` stands for the chosen runs, `{RUN, level="exact"}` for one label more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from trmkit.metrics import STATES

RUN = 'namespace=~"$namespace", run=~"$run"'
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
"""Columns of Grafana's grid."""
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"
STATE_COLOURS = ("light-blue", "green", "purple", "yellow", "blue", "dark-green", "red")
"""Of the states of `trmkit.metrics.STATES`, in that order."""

Panel = barchart.Panel | bargauge.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel


@dataclass(frozen=True)
class Ask:
    """A query: what is asked, and what its series are called."""

    expr: str
    legend: str = "{{run}}"
    instant: bool = False
    """The latest value alone, as tables and bars want it."""

    def target(self, number: int, *, rows: bool = False) -> prometheus.Dataquery:
        """Return query `number` of a panel; `rows`: as rows of a table."""
        expr = " ".join(re.sub(r"\{RUN\b", "{" + RUN, self.expr).split())
        asked = prometheus.Dataquery().expr(expr).legend_format(self.legend).ref_id(chr(ord("A") + number))
        asked.datasource(SOURCE)
        asked.format(PromQueryFormat.TABLE if rows else PromQueryFormat.TIME_SERIES)
        return asked.instant() if self.instant or rows else asked.range()


def of(metric: str, match: str = "", by: str = "", how: str = "max", over: str = "") -> str:
    """Return the metric of the chosen runs: one series a run, and a value of the labels `by`, whatever pod has it.

    So a run that started again, or whose first process is in another pod now, stays one curve. `over` is a function of
    a range and that range, as in `increase 1h`.
    """
    labels = f"namespace, run, {by}" if by else "namespace, run"
    found = f"{metric}{{RUN{', ' + match if match else ''}}}"
    if over:
        function, window = over.split()
        found = f"{function}({found}[{window}])"
    return f"{how} by ({labels}) ({found})"


def latest(metric: str, match: str = "", by: str = "") -> str:
    """Return the last value of the metric in the time shown, of runs that are over too."""
    return of(metric, match, by, over="last_over_time $__range")


FIRING = 'alertname=~"Trm.+", alertstate="firing"'
NOUGHT = of("run:trm_run_attempts:max") + " * 0"
"""0 for every run that is there: what to show where nothing has happened yet."""


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return colours by value: each from its number on; the first has None."""
    found = [model.Threshold(value, colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def state_names() -> list[model.ValueMapping]:
    """Return the words and colours of `run:trm_run_state:code`."""
    names = zip(STATES, STATE_COLOURS, strict=True)
    return [
        model.ValueMap(
            {
                str(code): model.ValueMappingResult(text=state, color=colour, index=code)
                for code, (state, colour) in enumerate(names, 1)
            }
        )
    ]


def _asked(panel: Any, title: str, help: str, unit: str, asks: Sequence[Ask], *, rows: bool = False) -> Any:
    panel.title(title).description(" ".join(help.split())).unit(unit).datasource(SOURCE)
    for number, ask in enumerate(asks):
        panel.with_target(ask.target(number, rows=rows))
    return panel


def curves(title: str, help: str, unit: str, *asks: Ask, stacked: bool = False, log: bool = False) -> timeseries.Panel:
    """Return lines over time."""
    panel: timeseries.Panel = _asked(timeseries.Panel(), title, help, unit, asks)
    panel.line_width(1.0 if stacked else 2.0).fill_opacity(60 if stacked else 6)
    panel.show_points(looks.VisibilityMode.NEVER).gradient_mode(looks.GraphGradientMode.OPACITY)
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    panel.legend(
        common.VizLegendOptions()
        .display_mode(looks.LegendDisplayMode.TABLE)
        .placement(looks.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "min", "max"])
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if log:
        panel.scale_distribution(common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(10))
    return panel


def number(title: str, help: str, unit: str, *asks: Ask, line: bool = False) -> stat.Panel:
    """Return the last value, large; with its curve behind it if `line`."""
    panel: stat.Panel = _asked(stat.Panel(), title, help, unit, asks)
    panel.graph_mode(looks.BigValueGraphMode.AREA if line else looks.BigValueGraphMode.NONE)
    panel.color_mode(looks.BigValueColorMode.VALUE).justify_mode(looks.BigValueJustifyMode.AUTO)
    panel.text_mode(looks.BigValueTextMode.AUTO).no_value("–")
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    return panel.thresholds(thresholds((None, BLUE)))


def timeline(title: str, help: str, *asks: Ask) -> statetimeline.Panel:
    """Return what each run was doing, over time."""
    panel: statetimeline.Panel = _asked(statetimeline.Panel(), title, help, "none", asks)
    panel.show_value(looks.VisibilityMode.AUTO).row_height(0.8).merge_values(True).fill_opacity(80).line_width(0)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(looks.LegendDisplayMode.LIST)
        .placement(looks.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.SINGLE))
    return panel.mappings(state_names())


def bars(title: str, help: str, unit: str, ask: Ask, *, by: str, of: str, sorted_: bool = True) -> barchart.Panel:
    """Return bars with the label `by` along the axis, a number, and one colour for each value of the label `of`."""
    panel: barchart.Panel = _asked(barchart.Panel(), title, help, unit, [ask], rows=True)
    matrix = f"{by}\\{of}"
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="groupingToMatrix", options={"columnField": of, "rowField": by, "valueField": "Value"}
        )
    )
    if sorted_:  # labels are text: "10" would come before "2"
        for kind in ("number", "string"):
            panel.with_transformation(convert(matrix, kind))
            if kind == "number":
                panel.with_transformation(
                    model.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": matrix}]})
                )
    panel.x_field(matrix).orientation(looks.VizOrientation.VERTICAL).show_value(looks.VisibilityMode.NEVER)
    panel.group_width(0.8).bar_width(0.95).fill_opacity(75).line_width(0)
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    panel.legend(
        common.VizLegendOptions()
        .display_mode(looks.LegendDisplayMode.LIST)
        .placement(looks.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    return panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))


def convert(name: str, kind: str) -> model.DataTransformerConfig:
    """Return the transformation that makes field `name` a `number` or a `string`."""
    options = {"conversions": [{"targetField": name, "destinationType": kind}], "fields": {}}
    return model.DataTransformerConfig(id_val="convertFieldType", options=options)


def ranking(title: str, help: str, unit: str, *asks: Ask) -> bargauge.Panel:
    """Return a bar for each series, one below the other."""
    panel: bargauge.Panel = _asked(bargauge.Panel(), title, help, unit, asks)
    panel.display_mode(looks.BarGaugeDisplayMode.BASIC).orientation(looks.VizOrientation.HORIZONTAL)
    panel.value_mode(looks.BarGaugeValueMode.TEXT).show_unfilled(True).min(0).no_value("–")
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    return panel.thresholds(thresholds((None, BLUE)))


@dataclass(frozen=True)
class Column:
    """A column of a table: the field it shows, its name, and how."""

    field: str
    name: str
    unit: str = ""
    look: Sequence[model.DynamicConfigValue] = ()


def rows(title: str, help: str, columns: Sequence[Column], *asks: Ask) -> table.Panel:
    """Return a table of one row a run: queries are joined by the labels they share; other fields are left out."""
    panel: table.Panel = _asked(table.Panel(), title, help, "none", asks, rows=True)
    if len(asks) > 1:
        panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    order = {column.field: index for index, column in enumerate(columns)}
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="filterFieldsByName", options={"include": {"names": [column.field for column in columns]}}
        )
    )
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "indexByName": order,
                "renameByName": {column.field: column.name for column in columns},
                "excludeByName": {},
            },
        )
    )
    for column in columns:
        look = [model.DynamicConfigValue("unit", column.unit)] if column.unit else []
        if look or column.look:
            panel.override_by_name(column.name, [*look, *column.look])
    panel.cell_height(looks.TableCellHeight.SM).show_header(True).filterable(True)
    return panel.thresholds(thresholds((None, GREY)))


def coloured(*steps: tuple[float | None, str]) -> list[model.DynamicConfigValue]:
    """Return how a column's text is coloured by its value."""
    found = [{"value": value, "color": colour} for value, colour in steps]
    return [
        model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": found}),
    ]


def linked(title: str, url: str, *, new_tab: bool = False) -> model.DynamicConfigValue:
    """Return how a column leads somewhere."""
    return model.DynamicConfigValue("links", [{"title": title, "url": url, "targetBlank": new_tab}])


def as_unit(unit: str) -> model.DynamicConfigValue:
    """Return how a curve has a unit of its own."""
    return model.DynamicConfigValue("unit", unit)


def on_the_right() -> model.DynamicConfigValue:
    """Return how a curve is read at the right edge."""
    return model.DynamicConfigValue("custom.axisPlacement", "right")


def answers() -> model.ValueMap:
    """Return the words for a store that is there, or is not."""
    return model.ValueMap(
        {
            "0": model.ValueMappingResult(text="away", color=RED, index=0),
            "1": model.ValueMappingResult(text="answers", color=GREEN, index=1),
        }
    )


@dataclass
class Board:
    """A dashboard as it grows: rows of panels, from left to right, with numbers in their order."""

    uid: str
    title: str
    help: str
    start: str
    _panels: list[Any] = field(default_factory=list)
    _line: int = 0

    def row(self, title: str, *panels: tuple[Panel, int, int]) -> None:
        """Add a row with a heading: each panel with its width and height; what does not fit goes below."""
        heading = dashboard.Row(title).id(self._next()).datasource(SOURCE)
        heading.grid_pos(model.GridPos(x=0, y=self._line, w=WIDTH, h=1))
        self._panels.append(heading)
        self._line += 1
        column, highest = 0, 0
        for panel, width, height in panels:
            if column + width > WIDTH:
                self._line, column, highest = self._line + highest, 0, 0
            panel.id(self._next()).grid_pos(model.GridPos(x=column, y=self._line, w=width, h=height))
            self._panels.append(panel)
            column, highest = column + width, max(highest, height)
        self._line += highest

    def _next(self) -> int:
        return len(self._panels) + 1

    def build(self, variables: Sequence[Any], annotations: Sequence[dashboard.AnnotationQuery]) -> dashboard.Dashboard:
        """Return the dashboard."""
        board = dashboard.Dashboard(self.title).uid(self.uid).description(self.help).tags(["trm"]).readonly()
        board.time(self.start, "now").refresh("30s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
        board.variables(list(variables)).annotations(list(annotations))
        board.link(
            dashboard.DashboardLink("TRM")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["trm"])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        for panel in self._panels:
            if isinstance(panel, dashboard.Row):
                board.with_row(panel)
            else:
                board.with_panel(panel)
        return board


def datasource() -> dashboard.DatasourceVariable:
    """Return the variable that says which Prometheus is asked."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def choice(name: str, label: str, query: str, *, multi: bool = True) -> dashboard.QueryVariable:
    """Return a variable with the values that `query` finds in the time shown; at first all of them."""
    found = dashboard.QueryVariable(name).label(label).query({"query": query, "refId": name, "qryType": 1})
    found.datasource(SOURCE).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(multi).include_all(True)
    found.all_value(".+").sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    return found.current(model.VariableOption(selected=True, text="All", value="$__all"))


def choices() -> list[Any]:
    """Return the variables that all dashboards have."""
    return [
        datasource(),
        choice("namespace", "Namespace", "label_values(trm_run_info, namespace)"),
        choice("run", "Run", 'label_values(trm_run_info{namespace=~"$namespace"}, run)'),
    ]


def mark(name: str, expr: str, colour: str) -> dashboard.AnnotationQuery:
    """Return marks on all curves at the times that `expr` finds."""
    found = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).hide(False).icon_color(colour)
    return found.expr(" ".join(re.sub(r"\{RUN\b", "{" + RUN, expr).split()))
