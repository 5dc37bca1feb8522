"""deploy/grafana/dashboard.json as a picture, without Grafana: each panel at its place, with what Prometheus answers.

Made to be looked at by a person: whether lines can be told apart, names fit, and a number says what its title says.
Grafana draws it finer.
"""

import html
import math
import re

COLUMN, ROW, PAD = 60, 34, 10  # pixels of Grafana's grid, and of a panel's border
LETTER, LINE = 7, 15  # pixels that a letter is wide, with some to spare, and that a line of names is high
# What lines get that are given none: no two are alike on a dark ground.
PALETTE = (
    "#3cb44b #ffe119 #42a5f5 #f58231 #e6194b #b565e8 #42e8f4 #f032e6 #bfef45 #fabed4 "
    "#2a9d8f #dcbeff #a0713a #fffac8 #a83232 #aaffc3 #98982a #6666ff #a9a9a9 #ffffff"
).split()
# Grafana's own, by the names of fixed colours.
NAMES = "green yellow orange red blue purple light-red dark-red light-blue light-orange".split()
SHADES = "#73bf69 #fade2a #ff9830 #f2495c #5794f2 #b877d9 #ff7383 #c4162a #8ab8ff #ffb357".split()
NAMED = dict(zip(NAMES, SHADES))
TEXT, FAINT, GRID, BACK, PANEL = "#ccccdc", "#8e8e9a", "#2c2f36", "#111217", "#181b1f"


class Picture:
    """A dashboard, and a Prometheus that has the answers of the last `seconds`."""

    def __init__(self, dashboard, asked, filled, seconds, now):
        self.dashboard, self.asked, self.filled = dashboard, asked, filled
        self.start, self.end = now - seconds, now
        self.faults = []  # what a person could not read

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
        box = f'<rect width="{width}" height="{height}" rx="3" fill="{PANEL}" stroke="{GRID}"/>'
        draw = {"stat": self.stat, "table": self.table, "timeseries": self.lines}[panel["type"]]
        inner = draw(panel, width, height)
        if inner is None:
            self.faults.append(f"{panel['title']} is empty")
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
        shown, colour = mapped(f"{value:g}", defaults["mappings"], shown, colour)
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
        longest = [max(map(len, [name, *(row[at][1] for row in cells)])) + 2 for at, name in enumerate(names)]
        out, left = "", PAD
        for at, name in enumerate(names):
            shown = [row[at][1] for row in cells]
            if not set(shown) - {"", panel["fieldConfig"]["defaults"]["noValue"]}:
                self.faults.append(f"{panel['title']} has nothing in its column {name}")
            mappings = overridden(panel, name).get("mappings", [])
            out += text(left, 42, name, fill=NAMED["blue"])
            for line, words in enumerate(shown):
                words, colour = mapped(words, mappings, words, None)
                out += text(left, 62 + 18 * line, words, fill=NAMED.get(colour, TEXT))
            left += (width - 2 * PAD) * longest[at] / sum(longest)
        return out

    def lines(self, panel, width, height):
        series = [
            (named(query["legendFormat"], metric), values)
            for query in panel["targets"]
            for metric, values in self.range(query)
        ]
        if not series:
            return None
        defaults = panel["fieldConfig"]["defaults"]
        custom, unit = defaults["custom"], defaults["unit"]
        names = [name for name, _ in series]
        colours = self.colours(panel, names)
        written, floor = legend(names, colours, width, height)
        curves = stacked(series) if custom["stacking"]["mode"] == "normal" else [(values, {}) for _, values in series]
        every = [value for values, _ in curves for _, value in values]
        marks = logarithmic(every) if custom["scaleDistribution"]["type"] == "log" else linear(every, defaults)
        scale = math.log if custom["scaleDistribution"]["type"] == "log" else float
        low, high = scale(marks[0]), scale(marks[-1])
        left, right = PAD + 6 + LETTER * max(len(formatted(mark, unit)) for mark in marks), width - PAD
        across = lambda moment: left + (moment - self.start) / (self.end - self.start) * (right - left)
        up = lambda value: floor - (scale(max(value, marks[0])) - low) / (high - low) * (floor - 34)
        point = lambda moment, value: f"{across(moment):.1f},{up(value):.1f}"
        out = written
        for mark in marks:
            out += f'<path d="M{left:.0f} {up(mark):.0f}H{right}" stroke="{GRID}"/>'
            out += text(left - 6, up(mark) + 4, formatted(mark, unit), fill=FAINT, anchor="end")
        for name, colour, (values, below) in zip(names, colours, curves):
            points = " ".join(point(moment, value) for moment, value in values)
            if custom["fillOpacity"]:
                back = " ".join(point(moment, below.get(moment, 0)) for moment, _ in reversed(values))
                out += f'<polygon points="{points} {back}" fill="{colour}" opacity="{custom["fillOpacity"] / 100}"/>'
            dash = overridden(panel, name).get("custom.lineStyle", {}).get("dash", ["none"])
            style = f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="{" ".join(map(str, dash))}"'
            out += f'<polyline points="{points}" fill="none" {style}/>'
        if custom["thresholdsStyle"]["mode"] == "dashed":
            for step in defaults["thresholds"]["steps"][1:]:
                style = f'stroke="{NAMED[step["color"]]}" stroke-dasharray="6 4"'
                out += f'<path d="M{left:.0f} {up(step["value"]):.0f}H{right}" {style}/>' * (step["value"] <= marks[-1])
        return out

    def colours(self, panel, names):
        """Of each line its own: what it is given, else the first of the palette that no other is like."""
        fixed = [overridden(panel, name).get("color", {}).get("fixedColor") for name in names]
        taken = [NAMED.get(colour, colour) for colour in fixed if colour]
        free = (one for one in PALETTE if all(apart(one, other) > 110 for other in taken))
        colours = [NAMED.get(colour, colour) if colour else next(free, PALETTE[0]) for colour in fixed]
        if len(set(colours)) < len(names):
            self.faults.append(f"{panel['title']} has lines of one colour: {sorted(zip(colours, names))}")
        return colours

    def range(self, query):
        """Each series of a query: its labels, and moments with values; those that are no numbers are none."""
        data = self.asked.ask("query_range", query=self.filled(query["expr"]), start=self.start, end=self.end, step=1)
        series = [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in data["result"]]
        series = [(metric, [one for one in values if math.isfinite(one[1])]) for metric, values in series]
        return [(metric, values) for metric, values in series if values]

    def now(self, query):
        answers = self.asked.now(self.filled(query["expr"]))
        return [(metric, [(self.end, float(value))]) for metric, value in answers]


def legend(names, colours, width, height):
    """The names below the lines, as many in a row as there is room for; and where the lines end above them."""
    most = int((width - 2 * PAD - 17) / LETTER)
    places, x, row = [], PAD, 0
    for name in names:
        needed = 17 + LETTER * min(len(name), most)
        if x > PAD and x + needed > width - PAD:
            x, row = PAD, row + 1
        places.append((x, row))
        x += needed + 14
    floor = height - 26 - LINE * (row + 1)
    out = ""
    for name, colour, (x, row) in zip(names, colours, places):
        y = floor + 22 + LINE * row
        out += f'<rect x="{x:.0f}" y="{y - 6}" width="12" height="3" fill="{colour}"/>' + text(x + 17, y, name[:most])
    return out, floor


def stacked(series):
    """Each on those before it: its values, and where it begins at each moment."""
    height, curves = {}, []
    for _, values in series:
        below = dict(height)
        for moment, value in values:
            height[moment] = below.get(moment, 0) + value
        curves.append(([(moment, height[moment]) for moment, _ in values], below))
    return curves


def linear(values, defaults):
    """From 0 to what is above all values, in steps of 1, 2 or 5 of a power of ten."""
    one = 2**20 if defaults["unit"] == "bytes" else 1
    top = defaults.get("max") or max(*values, defaults["custom"].get("axisSoftMax") or 1e-9) / one
    power = 10 ** math.floor(math.log10(top / 4))
    step = next(power * it for it in (1, 2, 5, 10) if power * it >= top / 4)
    return [step * one * mark for mark in range(math.ceil(top / step - 1e-6) + 1)]


def logarithmic(values):
    """Powers of ten."""
    exponents = [math.log10(value) for value in values if value > 0] or [0]
    return [10.0**exponent for exponent in range(math.floor(min(exponents)), math.floor(max(exponents)) + 2)]


def overridden(panel, name):
    """What the panel says of the field of this name alone."""
    said = {}
    for override in panel["fieldConfig"]["overrides"]:
        how, wanted = override["matcher"]["id"], override["matcher"]["options"]
        meant = wanted == name if how == "byName" else re.search(wanted.strip("/"), name)
        if meant:
            said |= {it["id"]: it["value"] for it in override["properties"]}
    return said


def mapped(value, mappings, shown, colour):
    for mapping in mappings:
        told = mapping["options"].get(value, {})
        shown, colour = told.get("text", shown), told.get("color", colour)
    return shown, colour


def apart(one, other):
    """How far two colours are, in all three parts."""
    return sum(abs(int(one[at : at + 2], 16) - int(other[at : at + 2], 16)) for at in (1, 3, 5))


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
