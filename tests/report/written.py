"""Runs as their tables tell them, and pages as a browser reads them."""

import html.parser
import json
import pathlib
import re

import numpy as np

from harmjax import defaults, tables, types, workdirs
from harmjax.report import markup
from harmjax.runs import logbook, preparation

CENTRES = ("North", "South", "West")
CENTRE = np.repeat([0, 1, 2], 4)
NAMES = tuple(f"p{i:02d}" for i in range(12))
LABEL = np.tile([0, 1], 6)
HOSTILE = '<script>alert("x")</script>&\'"><img src=x onerror=alert(1)>'


def volumes(shape=(10, 12, 10), dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, (12, *shape)).astype(dtype)


def study(image=None, names=NAMES, corrupted=(), centres=CENTRES):
    image = volumes() if image is None else image
    train = types.Samples(image, LABEL, CENTRE, np.arange(12))
    held_out = types.Samples(image[:10], np.repeat([0, 1], [4, 6]), CENTRE[:10], np.arange(10))
    planted = np.isin(np.arange(12), corrupted)
    return preparation.Study(
        train=train,
        verification=held_out,
        test=held_out,
        names=tuple(names),
        centres=centres,
        groups={},
        simulated=bool(len(corrupted)),
        corrupted=planted,
        kind=tuple("inversion" if p else "" for p in planted),
        word=np.zeros(12, np.int8),
        text="",
    )


def metrics(cycles, rates):
    groups = (("all", 10), ("sex=F", 4), ("sex=M", 6))
    return [
        [c, split, g, n, 0.7, 1 - rates[1], 1 - rates[0], 0.66, 0.8125, *rates, 0.4321]
        for c in cycles
        for split in ("verification", "test")
        for g, n in groups
    ]


def write_run(workdir, s, *, gone=(), waiting=(), policy="verify_revisit", decided=True,
              delivered=True, harm=None):  # fmt: skip
    """A finished run in a folder, as training leaves it."""
    nothing = np.full(12, np.nan)
    verdicts = types.Verdicts(
        harm=nothing if harm is None else np.asarray(harm, float),
        pending=np.isin(np.arange(12), waiting),
        eliminated=np.isin(np.arange(12), gone),
        cycle=np.where(np.isin(np.arange(12), [*gone, *waiting]), 3, -1),
    )
    mask = ~(verdicts.pending | verdicts.eliminated)
    logbook.write_harm(workdir / "harm.csv", logbook.harm_rows(s, verdicts, mask))
    rows = [logbook.baseline_row(2, [[3, 1], [1, 5]])]
    if decided:
        rates = [0.75, 1 / 6, 0.25, 1 / 6, 0.1]
        rows.append([2, 0, "North", "batch", ";".join(s.names[:4]), 5, 3, 1, 1, *rates, 0])
        rows += [[2, 0, "North", "single", s.names[i], 5, 3, 1, 1, *rates, 0] for i in (0, 1)]
        rows.append(
            [2, 1, "South", "batch", ";".join(s.names[4:8]), 5, 1, 3, 1, 0.25, *rates[1:], 1]
        )
        rows += [[3, None, "North", "revisit", s.names[i], 5, 3, 1, 1, *rates, 0] for i in gone]
    tables.write(workdir / "decisions.csv", logbook.decision_columns(s.classes), rows)
    columns = logbook.metric_columns(s.classes)
    tables.write(workdir / "metrics.csv", columns, metrics(range(4), (0.5, 0.5)))
    if delivered:
        after = metrics(range(2, 4), (0.25, 1 / 3))
        tables.write(workdir / "delivered.csv", columns, after)
    entry = {"gradient": 12, "forward": 60, "model_bytes": 10**6, "count_bytes": 0, "seconds": 1.5}
    phases = [("warmup", 0), ("warmup", 1), ("control", 2), ("control", 3)]
    entries = [entry | {"phase": p, "cycle": c} for p, c in phases]
    workdirs.write_json(workdir / "cost.json", logbook.summarise_cost(entries))
    config = {"config": settings(policy), "devices": ["cpu:0"]}
    workdirs.write_json(workdir / "config.json", config)
    return workdir


def settings(policy="verify_revisit"):
    """The resolved config of a run, as the program writes it."""
    config = defaults.get_config()
    config.seed, config.data.spacing = 7, 16.0
    config.scenario.name, config.scenario.count = "singles", 2
    config.model.width = 0.5
    config.train.cycles, config.train.warmup_cycles = 4, 2
    config.policy.name = policy
    return json.loads(config.to_json_best_effort())


class Reader(html.parser.HTMLParser):
    """Collects what a browser would act on, and fails on tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.words = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[k] for k in ("href", "src", "xlink:href") if k in attrs]
        assert not [name for name in attrs if name.startswith("on")]
        if tag not in markup.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(path):
    return Reader(pathlib.Path(path).read_text(encoding="utf-8"))
