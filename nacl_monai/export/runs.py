"""Finding a finished run by what was chosen for it."""

from __future__ import annotations

import json
from pathlib import Path

from nacl_monai.errors import InputError


def newest_run(runs: str | Path, dataset: str, network: str, loss: str) -> Path:
    """The newest finished run ``runs/DATASET/NETWORK_LOSS_seed*``, as ``make train`` names them.

    Finished is a run with a ``model.pt`` and, where it keeps a ``run.json``, ``finished`` in it.

    Raises:
        InputError: There is none.
    """
    pattern = f"{network}_{loss}_seed*"
    folder = Path(runs) / dataset
    finished = [run for run in folder.glob(pattern) if _is_finished(run)]
    if not finished:
        raise InputError(
            f"{folder / pattern}: no finished training there; train first, or name a run: --run DIR "
            "(make: RUN=DIR)"
        )
    return max(finished, key=lambda run: (run / "model.pt").stat().st_mtime)


def _is_finished(run: Path) -> bool:
    record = run / "run.json"
    if record.is_file() and not json.loads(record.read_text(encoding="utf-8"))["finished"]:
        return False
    return (run / "model.pt").is_file()
