"""One image after another, to the last, whatever is wrong with some of them."""

from __future__ import annotations

import hashlib
import sys
import traceback
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from monai.data import Dataset
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from monai.utils import progress_bar
from torch import nn

from nacl_monai.errors import InputError, causes

from .images import ImageFault
from .windows import without_spacing


def load_checkpoint(network: nn.Module, checkpoint: str | Path) -> None:
    """Loads the state dictionary in ``checkpoint`` into ``network``.

    Args:
        network: The network that it was trained with.
        checkpoint: A file of ``torch.save``. If ``NAME.sha256`` is beside it, in the format of the
            program ``sha256sum``, the file has to have that checksum.

    Raises:
        InputError: If the file is missing or damaged, is not the one of the checksum, belongs to another
            network, or holds NaN or infinite weights.
    """
    file = Path(checkpoint)
    if not file.is_file():
        raise InputError(
            f"{file}: no trained model there; train first, or name another: --checkpoint"
        )
    if not is_intact(file):
        raise InputError(
            f"{file}: is damaged, or not the file that was trained; copy it again, or train again"
        )
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except (AttributeError, RuntimeError, TypeError, UnpicklingError) as error:
        raise InputError(
            f"{file}: does not fit the network; choose the one it was trained with: --network_def"
        ) from error
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            raise InputError(f"{file}: holds NaN or infinite weights ({name}); train again")


def is_intact(file: str | Path) -> bool:
    """Whether a file that torch wrote still has the bytes that were written.

    If a checksum is beside it, the file has to be the one that it is of.
    """
    file = Path(file)
    beside = file.with_name(f"{file.name}.sha256")
    try:  # torch itself reads changed bytes without a word; the archive has their checksums
        with zipfile.ZipFile(file) as archive:
            # Torch takes a part that says it is a folder for empty memory, and returns what is in it.
            folders = any(
                part.external_attr & 0x10 and part.file_size for part in archive.infolist()
            )
            if folders or archive.testzip() is not None:
                return False
        if not beside.is_file():
            return True
        return hashlib.sha256(file.read_bytes()).hexdigest() in beside.read_text(encoding="utf-8")
    # Torch neither compresses nor encrypts; a flipped bit may say that it did.
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error):
        return False


class Segmenter:
    """Segments every image of a dataset, and says what it wrote.

    MONAI's ``SupervisedEvaluator`` would end at the first image that cannot be segmented, and does not
    know what was trained.

    Args:
        network: The network, on ``device``.
        checkpoint: File of its weights, which are checked and loaded before the first image.
        dataset: Its items have an ``image``, ``(C, H, W, D)``.
        inferer: Applies the network to a batch of one image.
        saving: Saves what follows from ``pred``, the logits ``(C, H, W, D)``, and returns the paths
            under ``files``.
        device: Where the network is.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoint: str | Path,
        dataset: Dataset,
        inferer: Inferer,
        saving: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        device: torch.device | str,
    ) -> None:
        self.network = network
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.inferer = inferer
        self.saving = saving
        self.device = device

    def run(self) -> None:
        """Segments all images; prints every file that was written, then every fault.

        Raises:
            InputError: If the weights cannot be used, a file cannot be written, or an image could not
                be segmented; a line for each fault.
        """
        load_checkpoint(self.network, self.checkpoint)
        files: list[Path] = []
        faults: list[str] = []
        done, newline = 0, not sys.stderr.isatty()
        try:
            for index in range(len(self.dataset)):
                self._try_to_segment(index, files, faults)
                done = index + 1
                with redirect_stdout(sys.stderr):
                    progress_bar(done, len(self.dataset), "Segmenting", newline=newline)
        except InputError as refusal:  # of all images; those before may have faults of their own
            faults.append(str(refusal))
        finally:
            if 0 < done < len(self.dataset) and not newline:
                print(file=sys.stderr)  # what follows has a line of its own
            for file in files:
                print(f"wrote {file}")
        if faults:
            raise InputError("\nerror: ".join(faults))

    def _try_to_segment(self, index: int, files: list[Path], faults: list[str]) -> None:
        """Adds what is written of an image to ``files``, or what is wrong with it to ``faults``."""
        try:
            files += self._segment(index)
        except Exception as error:  # MONAI wraps what its transforms raise
            chain = [*causes(error)]
            fault = next((cause for cause in chain if isinstance(cause, InputError)), None)
            if fault is not None and not isinstance(fault, ImageFault):
                raise fault from error
            if fault is None:  # the other images can be segmented still
                traceback.print_exc()
                names = " and ".join(self.dataset.data[index]["image"])
                fault = ImageFault(f"{names}: fails ({chain[-1]!r}); see above")
            faults.append(str(fault))

    def _segment(self, index: int) -> list[Path]:
        case = dict(self.dataset[index])
        with eval_mode(self.network):
            logits = self.inferer(case["image"][None].to(self.device), self.network)
            case["pred"] = without_spacing(logits[0])
            files: list[Path] = self.saving(case)["files"]
        return files
