"""A trained run, ready to segment, for studies that do otherwise than an evaluation does."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import nn

from nacl_monai.menus import fragments
from nacl_monai.runs import RunFolder


def parser_of_runs(module: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of a study of runs: the folder of a dataset, runs, and where volumes are kept."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    return parser


def evaluation_of(run: RunFolder, data: Path, cases: str, cache: Path) -> ConfigParser:
    """The configuration that evaluates a run, as it was trained.

    Args:
        run: The run.
        data: The folder of its dataset.
        cases: The set of its split, such as "val".
        cache: Where read volumes are kept.
    """
    settings = json.loads(run.config.read_text(encoding="utf-8"))
    *shared, evaluation = map(
        ConfigParser.load_config_file, fragments(settings["dataset"], "evaluate")
    )
    config = ConfigParser({})
    for keys in (*shared, settings, evaluation):
        config.update(keys)
    config.update({"dataset_dir": str(data), "output_dir": str(run.path), "cache_dir": str(cache)})
    config.update({"cases_to_evaluate": cases, "imports": ["$import torch", "$import monai"]})
    return config


def behind(
    module: nn.Module,
    logits: torch.Tensor,
    image: torch.Tensor | None = None,
    spacing: Sequence[float] | None = None,
) -> torch.Tensor:
    """The logits ``(C, *spatial)`` of a volume behind a calibrator.

    Args:
        module: What was fitted.
        logits: Those of the network.
        image: ``(channels, *spatial)``, for a calibrator that is a network of slices.
        spacing: Size of a voxel in mm, for a calibrator that measures distances.
    """
    with torch.no_grad():
        if image is not None:
            seen = (part.movedim(-1, 0) for part in (logits, image))
            calibrated: torch.Tensor = module(*seen).movedim(0, -1)
        else:
            calibrated = module(logits[None], spacing=spacing and [*spacing])[0]
    return calibrated
