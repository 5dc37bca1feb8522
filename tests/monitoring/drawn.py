"""deploy/grafana/dashboard.json as a picture, without Grafana: each panel at its place, with what Prometheus answers.

Made to be looked at by a person: whether lines can be told apart, names fit, and a number says what its title says.
Grafana draws it finer.
"""

import html
import math

COLUMN, ROW, PAD = 60, 34, 10  # pixels of Grafana's grid, and of a panel's border
COLOURS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#5794f2", "#ffa6b0", "#96d98d", "#fade2a"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2"}
TEXT, FAINT, BACK, PANEL = "#ccccdc", "#8e8e9a", "#111217", "#181b1f"


class Picture:
    """A dashboard, and a Prometheus that has the answers of the last `seconds`."""

    def __init__(self, dashboard, asked, filled, seconds, now):
        self.dashboard, self.asked, self.filled = dashboard, asked, filled
        self.start, self.end = now - seconds, now
        self.empty = []  # titles of panels with nothing in them

    def svg(self):
        panels = self.dashboard["panels"]
        places = [panel["gridPos"] for panel in panels]
        width, height = 24 * COLUMN, max(place["y"] + place["h"] for place in places) * ROW
        drawn = "\n".join(self.panel(panel) for panel in panels)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="{BACK}"/>\n{drawn}\n</svg>\n'
        )

    def panel(self, panel):
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN, place["y"] * ROW
        width, height = place["w"] * COLUMN - 6, place["h"] * ROW - 6
        if panel["type"] == "row":
            return f'<g transform="translate({x} {y})">{text(4, 20, panel["title"], size=15, weight="bold")}</g>'
        box = f'<rect width="{width}" height="{height}" rx="3" fill="{PANEL}" stroke="#2c2f36"/>'
        draw = {"stat": self.stat, "table": self.table, "timeseries": self.lines}[panel["type"]]
        inner = draw(panel, width, height)
        if inner is None:
            self.empty.append(panel["title"])
            inner = text(PAD, height / 2, "No data", fill=FAINT)
        title = text(PAD, 19, panel["title"], weight="bold")
        return f'<g transform="translate({x} {y})">{box}{title}{inner}</g>'

    def stat(self, panel, _width, height):
        """The last value, in the colour of its threshold or of what it is mapped to."""
        query = panel["targets"][0]
        series = self.range(query) if query["range"] else self.now(query)
        if not series:
            return None
        defaults = panel["fieldConfig"]["defaults"]
        metric, values = series[0]
        value = values[-1][1]
        shown, colour = formatted(value, defaults["unit"]), defaults["thresholds"]["steps"][0]["color"]
        for step in defaults["thresholds"]["steps"][1:]:
            colour = step["color"] if value >= step["value"] else colour
        for mapping in defaults["mappings"]:
            told = mapping["options"].get(f"{value:g}", {})
            shown, colour = told.get("text", shown), told.get("color", colour)
        name = query.get("legendFormat")
        below = text(PAD, height - 14, named(name, metric), fill=FAINT) if name else ""
        return text(PAD, height / 2 + 20, shown, size=28, fill=NAMED[colour]) + below

    def table(self, panel, width, height):
        """A line for each set of labels, a column for each of them and for each query's value."""
        rows, values = {}, {}
        for query in panel["targets"]:
            for metric, [(_, value)] in self.now(query):
                labels = frozenset(metric.items())
                rows[labels] = metric
                values.setdefault(labels, {})[f"Value #{query['refId']}"] = value
        if not rows:
            return None
        order = panel["transformations"][-1]["options"]
        columns = sorted(order["indexByName"], key=order["indexByName"].get)
        names = [order["renameByName"].get(column, column) for column in columns]
        cells = [[cell(rows[one], values[one], column, panel) for column in columns] for one in rows]
        first = panel["options"]["sortBy"][0]
        by = names.index(first["displayName"])
        cells.sort(key=lambda row: row[by][0], reverse=first["desc"])
        cells = cells[: int((height - 50) / 18)]
        longest = [max(map(len, [name, *(row[at][1] for row in cells)])) for at, name in enumerate(names)]
        out, left = "", PAD
        for at, name in enumerate(names):
            out += text(left, 42, name, fill=NAMED["blue"])
            out += "".join(text(left, 62 + 18 * line, row[at][1]) for line, row in enumerate(cells))
            left += (width - 2 * PAD) * longest[at] / sum(longest)
        return out

    def lines(self, panel, width, height):
        defaults = panel["fieldConfig"]["defaults"]
        named_series = [
            (named(query["legendFormat"], metric), values)
            for query in panel["targets"]
            for metric, values in self.range(query)
        ]
        if not named_series:
            return None
        highest = max((value for _, values in named_series for _, value in values), default=0)
        top = defaults.get("max") or highest * 1.1 or 1
        left, right, floor = 76, width - PAD, height - 26 - 15 * math.ceil(len(named_series) / 3)
        across = lambda moment: left + (moment - self.start) / (self.end - self.start) * (right - left)
        up = lambda value: floor - value / top * (floor - 34)
        out = ""
        for part in range(4):
            value = top * part / 3
            out += f'<path d="M{left} {up(value):.0f}H{right}" stroke="#2c2f36"/>'
            out += text(left - 6, up(value) + 4, formatted(value, defaults["unit"]), fill=FAINT, anchor="end")
        for number, (name, values) in enumerate(named_series):
            colour = COLOURS[number % len(COLOURS)]
            points = " ".join(f"{across(moment):.1f},{up(value):.1f}" for moment, value in values)
            out += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            column, line = number % 3, number // 3
            x, y = PAD + column * (width - PAD) / 3, floor + 22 + 15 * line
            out += f'<rect x="{x}" y="{y - 6}" width="12" height="3" fill="{colour}"/>' + text(x + 17, y, name)
        return out

    def range(self, query):
        """Each series of a query: its labels, and moments with values; those that are no numbers are none."""
        data = self.asked.ask("query_range", query=self.filled(query["expr"]), start=self.start, end=self.end, step=1)
        series = [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in data["result"]]
        series = [(metric, [one for one in values if math.isfinite(one[1])]) for metric, values in series]
        return [(metric, values) for metric, values in series if values]

    def now(self, query):
        answers = self.asked.now(self.filled(query["expr"]))
        return [(metric, [(self.end, float(value))]) for metric, value in answers]


def cell(metric, values, column, panel):
    """What it is sorted by, and what is shown."""
    if column.startswith("Value"):
        value = values.get(column)
        defaults = panel["fieldConfig"]["defaults"]
        return value or 0, defaults["noValue"] if value is None else formatted(value, defaults["unit"])
    return metric.get(column, ""), metric.get(column, "")


def named(legend, metric):
    for label, value in metric.items():
        legend = legend.replace("{{" + label + "}}", value)
    return legend


def formatted(value, unit):
    """As Grafana writes it, for the units that the dashboard has."""
    match unit:
        case "percentunit":
            return f"{value * 100:.3g} %"
        case "s":
            scale, name = next((it for it in [(1, "s"), (1e-3, "ms"), (1e-6, "µs")] if value >= it[0]), (1e-6, "µs"))
            return f"{value / scale:.3g} {name}" if value else "0 s"
        case "bytes":
            return f"{value / 2**20:.3g} MiB"
        case "reqps":
            return f"{value:.3g} req/s"
        case _:
            return f"{value:.3g}{unit.removeprefix('suffix:') if unit.startswith('suffix:') else ''}"


def text(x, y, words, size=12, fill=TEXT, weight="normal", anchor="start"):
    attributes = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{fill}" font-weight="{weight}" text-anchor="{anchor}"'
    return f"<text {attributes}>{html.escape(str(words))}</text>"
