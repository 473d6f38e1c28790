"""Small synthetic datasets in the official layouts of real ones.

They let demonstrations, tests and measurements of memory run without a download. A phantom is
seeded, takes seconds to write, and passes through the same readers as the real dataset. What is real
about it are its folders, files, headers and labels; what the images show are ellipsoids in noise
(`painting`). `PHANTOMS` lists them by the dataset's name. A further dataset is one module that declares
a `Phantom`, and one entry here.

Small phantoms show the anatomy in miniature: fewer voxels of the official size. With
``full_size=True`` the matrix is the official one and the anatomy the same.
"""

from nacl_monai.phantoms.abdomen import FLARE, KITS
from nacl_monai.phantoms.acdc import ACDC
from nacl_monai.phantoms.brain import BRATS, MRBRAINS
from nacl_monai.phantoms.decathlon import HIPPOCAMPUS, PROSTATE
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
