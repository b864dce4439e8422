"""A sample of `make fuzz`, and that it sees what goes wrong."""

import numpy as np
import pytest

from harmjax.data.scans import nifti
from harmjax.data.tables import classes
from tests.fuzz import forge, oracle, scans, tables


def test_mutated_scans_are_read_right_or_refused_by_name(tmp_path):
    found = list(scans.outcomes(63, 7, tmp_path))
    assert [o for o in found if o.verdict in ("wrong", "crashed")] == []
    assert {o.verdict for o in found} == {"accepted", "refused"}
    assert len({o.kind for o in found}) == len(scans.MUTATIONS)


def test_mutated_tables_are_read_right_or_refused_by_name(tmp_path):
    found = list(tables.outcomes(300, 7, tmp_path / "tables"))
    assert [o for o in found if o.verdict in ("wrong", "crashed")] == []
    assert {o.verdict for o in found} == {"accepted", "refused"}


def test_a_label_of_another_row_would_be_called_wrong(tmp_path, monkeypatch):
    real = classes.meaning
    monkeypatch.setattr(classes, "meaning", lambda *words: lambda cell: 1 - real(*words)(cell))
    found = list(tables.outcomes(9, 7, tmp_path / "tables"))
    assert all(o.verdict != "accepted" for o in found)


@pytest.mark.parametrize("name", scans.BASES)
def test_scans_that_nothing_happened_to_are_read(tmp_path, name):
    field, voxels, order, version, packed, ending = scans.base(name)
    head = forge.header(field, order=order, version=version)
    path = tmp_path / f"scan{ending}"
    forge.write(path, head, forge.stored(voxels, order), packed=packed)
    assert scans.judged(path, sound=True) == ("accepted", "")


def test_a_mirrored_volume_would_be_called_wrong(tmp_path, monkeypatch):
    path = nifti.write(tmp_path / "a.nii", scans.head(scans.SHAPE), scans.GRID)
    assert scans.judged(path, sound=True) == ("accepted", "")
    true = oracle.volume
    monkeypatch.setattr(oracle, "volume", lambda v, *a: true(np.asarray(v)[::-1], *a))
    assert scans.judged(path, sound=True)[0] == "wrong"
