"""What deploy/grafana/dashboard.json asks of Prometheus, and whether a person could read the answers."""

import json
import re

from harness import ROOT

PATH = ROOT / "deploy" / "grafana" / "dashboard.json"
# What Grafana puts in, as it would with everything selected.
FILLED = {"$__rate_interval": "15s", "$__range": "60s", "$job": "countersign|orders", "$instance": ".*", "$route": ".*"}
VARIABLES = ["datasource", "job", "instance", "route"]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_PROMQL = re.compile(r"\b(countersign_\w+|process_\w+|up|ALERTS)\b")


def filled(expression):
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    return expression


class Query:
    def __init__(self, where, expression, over_time):
        self.where, self.expression, self.over_time = where, expression, over_time

    def filled(self):
        return filled(self.expression)

    def metrics(self):
        return set(OF_PROMQL.findall(self.expression))


class Dashboard:
    def __init__(self, document):
        self.document = document
        self.panels = [panel for panel in document["panels"] if panel["type"] != "row"]
        self.variables = {it["name"]: it for it in document["templating"]["list"]}
        self.annotations = [it for it in document["annotations"]["list"] if "expr" in it]

    @classmethod
    def load(cls):
        return cls(json.loads(PATH.read_text()))

    def queries(self):
        for panel in self.panels:
            for target in panel["targets"]:
                yield Query(f"{panel['title']}, {target['refId']}", target["expr"], target["range"])
        for annotation in self.annotations:
            yield Query(f"annotation {annotation['name']}", annotation["expr"], True)
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()
                yield Query(f"variable {name}", f"count by ({label}) ({series})", False)

    def faults(self):
        """Names what has to hold, whether it does, and what is there instead."""
        yield "the dashboard has its variables", list(self.variables) == VARIABLES, self.variables
        named = [panel["title"] for panel in self.panels]
        yield "every panel has a title of its own", len(set(named)) == len(self.panels), named
        for panel in self.panels:
            title, targets = panel["title"], panel["targets"]
            yield f"{title} says what it shows", len(panel["description"]) > 20, panel["description"]
            yield f"{title} has a unit", panel["fieldConfig"]["defaults"].get("unit"), panel["fieldConfig"]
            sources = [panel["datasource"], *(target["datasource"] for target in targets)]
            yield f"{title} asks the source that is chosen", all(it == DATA_SOURCE for it in sources), sources
            names = {it["refId"] for it in targets}
            yield f"{title} has targets of different names", len(names) == len(targets), targets
            narrowed = [it["expr"] for it in targets if "$job" not in it["expr"]]
            yield f"{title} heeds the job", not narrowed, narrowed
            if panel["type"] == "timeseries":
                yield f"{title} names its lines", all(it["legendFormat"] for it in targets), targets
        covered = [cell for panel in self.document["panels"] for cell in cells(panel["gridPos"])]
        yield "no panel lies on another", len(covered) == len(set(covered)), sorted(covered)
        yield "no panel sticks out", all(x < 24 for x, _ in covered), covered


def cells(place):
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]
