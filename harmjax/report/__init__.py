"""What a person reads after a run: `page.write` for one run, `detection.write` for a grid of runs.

Both write self-contained HTML: no network, no scripts. Matplotlib is imported when a page is
written, not when harmjax is.
"""
