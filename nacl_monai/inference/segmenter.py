"""One image after another, to the last, whatever is wrong with some of them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from monai.data import Dataset
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from monai.utils import progress_bar
from torch import nn

from .faults import ImageFault
from .weights import load_weights


class Segmenter:
    """Segments every image of a dataset, and says what it wrote.

    MONAI's ``SupervisedEvaluator`` would end at the first image that cannot be segmented, and does not
    know what was trained.

    Args:
        network: The network, on ``device``.
        checkpoint: File of its weights, which are checked and loaded before the first image.
        dataset: Its items have an ``image``, ``(C, H, W, D)``.
        inferer: Applies the network to a batch of one image.
        postprocessing: Saves what follows from ``pred``, the logits ``(C, H, W, D)``, and returns the
            paths under ``files``.
        device: Where the network is.
        calibrator: From logits and image to logits, on ``device``; put behind the network.
        calibrated: Whether to do so.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoint: str | Path,
        dataset: Dataset,
        inferer: Inferer,
        postprocessing: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        device: torch.device | str,
        calibrator: nn.Module | None = None,
        calibrated: bool = True,
    ) -> None:
        self.network = network
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.inferer = inferer
        self.postprocessing = postprocessing
        self.device = device
        self.calibrator = calibrator if calibrated else None

    def run(self) -> None:
        """Segments all images; prints every file that was written, then every fault.

        Raises:
            SystemExit: If the weights cannot be used, a file cannot be written, or an image could not
                be segmented; with exit code 1.
        """
        load_weights(self.network, self.checkpoint)
        if self.calibrator is not None:
            self.network = _Behind(self.network, self.calibrator)
        files: list[Path] = []
        faults: list[str] = []
        try:
            for index in range(len(self.dataset)):
                self._try_to_segment(index, files, faults)
                _show_progress(index + 1, len(self.dataset))
        except SystemExit as refusal:  # of all images; those before may have faults of their own
            faults.append(str(refusal))
        finally:
            for file in files:
                print(f"wrote {file}")
        if faults:
            raise SystemExit("\n".join(faults))

    def _try_to_segment(self, index: int, files: list[Path], faults: list[str]) -> None:
        """Adds what is written of an image to ``files``, or what is wrong with it to ``faults``."""
        try:
            files += self._segment(index)
        except ImageFault as fault:
            faults.append(str(fault))
        except Exception as error:  # noqa: BLE001 - the other images can be segmented still
            traceback.print_exc()
            faults.append(f"error: {self._name(index)}: fails ({_cause(error)!r}); see above")

    def _segment(self, index: int) -> list[Path]:
        case = dict(self.dataset[index])
        batch = case["image"].as_tensor()[None].to(self.device)
        with eval_mode(self.network):
            case["pred"] = self.inferer(batch, self.network)[0]
            files: list[Path] = self.postprocessing(case)["files"]
        return files

    def _name(self, index: int) -> str:
        return " and ".join(self.dataset.data[index]["image"])


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)


def _show_progress(done: int, images: int) -> None:
    with redirect_stdout(sys.stderr):
        progress_bar(done, images, "Segmenting", newline=not sys.stderr.isatty())


class _Behind(nn.Module):
    """A network with a calibrator behind it, which sees the image as well."""

    def __init__(self, network: nn.Module, calibrator: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calibrator = calibrator

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        calibrated: torch.Tensor = self.calibrator(self.network(image), image)
        return calibrated
