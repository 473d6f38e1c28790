"""Small synthetic datasets in the official layouts of real ones.

They let demonstrations, tests and measurements of memory run without a download. A phantom is
seeded, takes seconds to write, and passes through the same readers as the real dataset.
`PHANTOMS` lists them by the dataset's name. A further dataset is one module that declares a `Phantom`,
and one entry here.

A case is made in four steps: an anatomy is drawn, a function of position that knows the tissue at
each point (`shapes`, `brain`, `abdomen`); a grid samples it (`grids`); the scanner turns tissues into
an image with partial volume, uneven gain and noise (`acquisition`); and an annotator, who misses the
true boundary by a smooth error, looks the labels up. `writing` puts the files down.

Small phantoms show the anatomy in miniature: fewer voxels of the official size. With
``full_size=True`` the matrix is the official one and the anatomy the same.
"""

from nacl_monai.phantoms.acdc import ACDC
from nacl_monai.phantoms.brats import BRATS
from nacl_monai.phantoms.flare import FLARE
from nacl_monai.phantoms.hippocampus import HIPPOCAMPUS
from nacl_monai.phantoms.kits import KITS
from nacl_monai.phantoms.mrbrains import MRBRAINS
from nacl_monai.phantoms.prostate import PROSTATE
from nacl_monai.phantoms.writing import Phantom

__all__ = ["PHANTOMS", "Phantom"]

_LIST = (
    ACDC,
    BRATS,
    FLARE,
    HIPPOCAMPUS,
    KITS,
    MRBRAINS,
    PROSTATE,
)
#: By the dataset's name.
PHANTOMS: dict[str, Phantom] = {phantom.name: phantom for phantom in _LIST}
