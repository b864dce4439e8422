"""From files to samples, and nothing read twice in two ways.

`tables` says who there is, `scans` what an image is; `ingest` puts both in memory, `tabular` does
where there are no images. `splits` and `checks` decide who is used, `provenance` writes down what
was read (manifest.csv), and `begun` compares with it when a run goes on. All pass around `records`.
"""
