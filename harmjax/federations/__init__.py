"""Where the data are. A federation alone touches them, and the algorithm asks it by name.

`memory`, `stepwise` (the same, asked step by step), `stream` and `loopback` are federations. What a
centre may be asked: sums by the `statistics`, over the scans that are `permitted`; what
`scorers/measures` resolves; learning; and how a model does (`assessment`). `site` answers messages
at a centre, `wire` makes bytes of them, `layout` puts scans in batches, `loops` are scan and cond
in plain Python. `traffic` and `passes` note what was asked and what it cost.
"""
