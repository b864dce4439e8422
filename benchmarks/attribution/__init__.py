"""How well harm scorers of this and of other libraries find corrupted training samples.

    python -m benchmarks.attribution

Every library runs in its own environment as a subprocess that reads and writes .npz files. Name the
interpreters in HARMJAX_PEER_CLEANLAB, HARMJAX_PEER_PYDVL, HARMJAX_PEER_DATTRI and
HARMJAX_PEER_OPENDATAVAL; a library whose interpreter is not named is listed as missing. A run that
was stopped goes on where it was.
"""
