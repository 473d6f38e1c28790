"""The losses of the paper, its rivals since, and their parts.

Each method is a pure function, such as `nacl_loss(logits, labels, penalty_weight=0.1)`, and a module
with the same settings, `NACLLoss(penalty_weight=0.1)(logits, labels)`. The module of a penalty has a
``weight`` beside the settings of its function. All return a scalar, and share these arguments:

- ``logits``: ``(B, C, *spatial)`` before softmax, 2-D or 3-D; half precision is computed in float32.
- ``labels``: class indices of any dtype, ``(B, 1, *spatial)`` or ``(B, *spatial)``; or one-hot or soft
  labels, the shares of the classes, ``(B, C, *spatial)``, which sum to 1 in each voxel.
- ``ignore_index``: voxels with this label are ignored, also as neighbors; of soft labels, voxels that
  are wholly of this class, or have no shares.
- ``class_weights``, of losses with a cross-entropy term: one weight per class, for this term only.

Logits and labels may be MONAI's ``MetaTensor``. What does not fit is an ``InputError`` of one line.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
