"""Divisions into who calibrates and a cohort: equals give no alarm, and others do."""

import numpy as np
import pandas as pd

from nacl_monai.promises.cases import curves_of_arrays
from studies.promises.cohort import main


def curves(cases, sure, seed):
    """Blobs whose probabilities are more or less sure."""
    rng = np.random.default_rng(seed)
    away = np.linalg.norm(np.stack(np.mgrid[:12, :12, :8], -1) - [6, 6, 4], axis=-1)
    probs, labels = [], []
    for _ in range(cases):
        size = rng.uniform(3, 4)
        inside = 1 / (1 + np.exp(sure * (away - size + rng.normal(0, 0.2, away.shape))))
        probs.append(np.stack([1 - inside, inside]).astype(np.float32))
        labels.append((away < size + rng.normal(0, 0.3)).astype(int))
    return curves_of_arrays(probs, labels, cases=[f"c{k:02d}" for k in range(cases)])


def test_power_is_small_for_equals_and_large_for_others(tmp_path):
    run = tmp_path / "run"
    curves(40, 2.0, 0).write(run / "clean_0.npz")
    curves(40, 1.0, 1).write(run / "blur_4.npz")
    args = ["power", run, "--patients", 20, "--cohort", 10, "--draws", 20, "--output", tmp_path]

    assert main([*map(str, args)]) == 0

    table = pd.read_csv(tmp_path / "cohort.csv").set_index("kind")
    assert list(table.index) == ["clean", "blur"]
    assert table["p_below_0.01"]["clean"] < 0.2
    assert table["p_below_0.01"]["blur"] == 1
    assert table["uniform"]["clean"] > 1e-3
    assert table["error"]["clean"] < 0.05
