"""What several tests need: a compilation cache and a small study of tabular patients."""

import os
import pathlib

import numpy as np
import pytest

from harmjax import defaults

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.cwd() / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

FEATURES = tuple(f"f{i}" for i in range(6))


def write_patients(path, *, sizes=(12, 9, 7, 5, 5, 3, 1, 1), held_out=40, bad_centre=None, seed=0):
    """A manifest of patients whose disease is a linear function of six features.

    Each centre holds `sizes` training patients; `held_out` verification and as many test patients
    are spread over the centres. The labels of `bad_centre` are flipped and its features are large,
    so that every update there does gross harm.
    """
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=len(FEATURES))
    places = [(c, "train") for c, size in enumerate(sizes) for _ in range(size)]
    for split in ("verification", "test"):
        places += [(i % len(sizes), split) for i in range(held_out)]
    lines = [",".join(("Subject", "Study", "Group_bin", "Sex", "Age", "Split", *FEATURES))]
    for number, (centre, split) in enumerate(places):
        x = rng.normal(size=len(FEATURES))
        label = int(x @ direction > 0)
        if split == "train" and centre == bad_centre:
            x, label = 8 * x, 1 - label
        sex, age = "FM"[number % 2], 40 + number % 41
        values = [f"{v:.6f}" for v in x]
        lines.append(
            ",".join((f"p{number:03}", f"C{centre}", str(label), sex, str(age), split, *values))
        )
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def patients(tmp_path):
    """A config whose patients make verification reject, isolate, revisit and eliminate."""
    manifest = write_patients(tmp_path / "patients.csv", bad_centre=3)
    return patients_config(manifest)


def patients_config(manifest):
    config = defaults.get_config()
    config.data.manifest = str(manifest)
    config.data.features = FEATURES
    config.model.name, config.model.norm, config.model.dropout = "mlp", "none", 0.1
    config.train.learning_rate = 0.1
    config.train.decay = 0.02
    config.train.warmup_cycles = 2
    config.train.cycles = 7
    config.train.stops_per_call = 4
    config.report = False
    return config


@pytest.fixture
def flipped(tmp_path):
    """A config of patients at four hospitals, at one of which every label was wrong all along."""
    sizes = (40, 40, 40, 40)
    manifest = write_patients(tmp_path / "p.csv", sizes=sizes, held_out=120, seed=3)
    config = patients_config(manifest)
    config.train.learning_rate, config.policy.name = 0.02, "screen"
    config.policy.screen.families = ("margin",)
    config.train.warmup_on, config.train.warmup_cycles, config.train.cycles = "as_is", 3, 5
    config.scenario.name, config.scenario.harm = "centres", ("label_flip",)
    config.scenario.centres, config.scenario.max_fraction = ("C2",), 1.0
    return config
