"""Quality control of arrays in one call."""

import flax.linen as nn
import numpy as np
import pytest

from harmjax import audit


def patients(number=240):
    rng = np.random.default_rng(0)
    label = np.arange(number) % 2
    x = rng.normal(size=(number, 5)).astype(np.float32)
    x[:, 0] += 4 * label - 2
    return x, label, np.array(["North", "South", "West"])[np.arange(number) // 2 % 3]


def test_it_finds_damaged_rows_with_a_flax_module_of_ones_own(tmp_path):
    x, label, where = patients()
    verification = np.arange(len(x)) % 3 == 0
    bad = [7, 100, 200]
    x[bad] = 8.0

    class Mine(nn.Module):
        @nn.compact
        def __call__(self, image, train):
            hidden = nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(8)(image)))
            return nn.Dense(1)(hidden)

    settings = {"cycles": 5, "warmup_cycles": 1, "learning_rate": 0.01, "progress": False}
    rows = audit.audit(
        x, label, where, classifier=Mine(), verification=verification, workdir=tmp_path, **settings
    )
    assert len(rows) == (~verification).sum()
    gone = {int(row["subject"]) for row in rows if row["verdict"] == "eliminated"}
    assert set(bad) <= gone and len(gone) <= len(bad) + 4
    assert {row["centre"] for row in rows} == {"North", "South", "West"}
    assert (tmp_path / "decisions.csv").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"labels": np.zeros(240)}, "labels: values"),
        ({"centres": np.zeros(3)}, "centres: shape"),
        ({"images": np.full((240, 5), np.nan)}, "NaN"),
        ({"verification": np.arange(240) == 2}, "both classes"),
    ],
)
def test_arrays_that_do_not_fit(change, words):
    given = dict(zip(("images", "labels", "centres"), patients(), strict=True)) | change
    with pytest.raises(ValueError, match=words):
        audit.audit(**given, progress=False)


@pytest.mark.parametrize(
    "shape, model",
    [((9, 5), "mlp"), ((9, 28, 28), "cnn2d"), ((9, 40, 48, 3), "cnn2d"), ((9, 40, 48, 40), "sfcn")],
)
def test_the_default_model_fits_the_arrays(shape, model):
    assert audit._default_model(shape) == model


def test_an_alarm_is_a_warning():
    x, label, where = patients()
    verification = np.arange(len(x)) % 3 == 0
    x[~verification] += 9
    settings = {"cycles": 3, "warmup_cycles": 1, "progress": False, "families": ("appearance",)}
    with pytest.warns(UserWarning, match="most of the training samples look unlike"):
        audit.audit(x, label, where, verification=verification, **settings)
