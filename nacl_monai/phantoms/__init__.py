"""Small synthetic datasets in the official layouts of real ones.

They let demonstrations, tests and measurements of memory run without a download. A phantom is
seeded, costs seconds to write, and passes through the same readers as the real dataset. `PHANTOMS`
lists the writers by the dataset's name; each is called as
``write(directory, cases=…, seed=0, full_size=False)``.

A case is made in four steps: an anatomy is drawn, a function of position that knows the tissue at
each point (`shapes`, `brain`, `abdomen`); the scan's grid samples it (`grids`); the scanner turns
tissues into an image with partial volume, uneven gain and noise (`acquisition`); and an annotator,
who misses the true boundary by a smooth error, looks the labels up. `writing` puts the files down.

Small phantoms show the anatomy in miniature: fewer voxels of the official size. With
``full_size=True`` the matrix is the official one and the anatomy the same.
"""

from nacl_monai.phantoms.acdc import write_acdc_phantom
from nacl_monai.phantoms.brats import write_brats_phantom
from nacl_monai.phantoms.flare import write_flare_phantom
from nacl_monai.phantoms.hippocampus import write_hippocampus_phantom
from nacl_monai.phantoms.kits import write_kits_phantom
from nacl_monai.phantoms.mrbrains import write_mrbrains_phantom
from nacl_monai.phantoms.prostate import write_prostate_phantom
from nacl_monai.phantoms.writing import PhantomWriter

__all__ = [
    "PHANTOMS",
    "PhantomWriter",
    "write_acdc_phantom",
    "write_brats_phantom",
    "write_flare_phantom",
    "write_hippocampus_phantom",
    "write_kits_phantom",
    "write_mrbrains_phantom",
    "write_prostate_phantom",
]

PHANTOMS: dict[str, PhantomWriter] = {
    "acdc": write_acdc_phantom,
    "brats": write_brats_phantom,
    "flare": write_flare_phantom,
    "hippocampus": write_hippocampus_phantom,
    "kits": write_kits_phantom,
    "mrbrains": write_mrbrains_phantom,
    "prostate": write_prostate_phantom,
}
