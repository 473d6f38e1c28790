"""TransUNet: an encoder of a ResNet and a vision transformer, and a cascaded up-sampler as decoder.

References:
    - TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation (Chen et al., 2021),
      https://arxiv.org/abs/2102.04306
    - Its encoder, as implemented by ``timm``: An Image is Worth 16x16 Words (Dosovitskiy et al.,
      2021), https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from nacl_monai.errors import InputError, SettingError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

_LOGGER = logging.getLogger(__name__)
PRETRAINED = "vit_base_r50_s16_224.orig_in21k"
PRETRAINED_SIZE = 224


class TransUNet(nn.Module):
    r"""TransUNet, by default R50+ViT-B/16.

    A ResNet reduces an image to features of 1/2, 1/4, 1/8 and 1/16 of its size. Each position of the
    last is a token, and a transformer relates all tokens. The cascaded up-sampler (CUP) turns the
    tokens back into a map and doubles it four times: bilinear interpolation, concatenation with the
    ResNet's features of that size, two 3×3 convolutions.

    Images may have any size: the position embeddings, learned on a grid of 14×14, are interpolated,
    and each map grows to the size of the features that it is joined with.

    Args:
        in_channels: Channels of an image.
        out_channels: Number of classes.
        resnet_layers: Numbers of blocks in the ResNet's stages at 1/4, 1/8 and 1/16.
        resnet_channels: Channels of the features at 1/2, 1/4, 1/8 and 1/16, in multiples of 32, 128,
            128 and 128, since the ResNet normalizes 32 groups of a quarter of them.
        embed_dim: Channels of a token.
        depth: Number of blocks in the transformer.
        num_heads: Number of heads in its attention.
        bridge_channels: Channels of the map of tokens where it enters the decoder.
        decoder_channels: Channels of the maps at 1/8, 1/4, 1/2 and the full size.
        pretrained: ``True`` downloads ImageNet-21k's weights of the default encoder from the Hugging
            Face hub. A path loads the encoder's weights from a file (``.safetensors``, ``.pth``, or
            ``.npz`` as published with the transformer). The first convolution is adapted to
            ``in_channels``.

    Shape:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        InputError: If ``timm`` is not installed, or the pretrained weights are missing, unreadable, or
            of another size.

    Note:
        Chen et al. drop the transformer's class token. Here it is kept, as in the pretrained weights,
        so that the encoder equals ``timm``'s; the decoder does not see it. The network can be
        scripted.

    Example:
        >>> network = TransUNet(
        ...     1, 3, resnet_layers=[1, 1, 1], resnet_channels=[32, 128, 128, 128], embed_dim=16,
        ...     depth=1, num_heads=2, bridge_channels=16, decoder_channels=[8, 8, 8, 8],
        ... )
        >>> list(network(torch.rand(2, 1, 48, 60)).shape)
        [2, 3, 48, 60]
    """

    #: Other loaders of ``pretrained`` leave it to this class.
    loads_pretrained = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resnet_layers: Sequence[int] = (3, 4, 9),
        resnet_channels: Sequence[int] = (64, 256, 512, 1024),
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        bridge_channels: int = 512,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        pretrained: bool | str | Path = False,
    ) -> None:
        super().__init__()
        self.encoder = _hybrid_encoder(
            in_channels, resnet_layers, resnet_channels, embed_dim, depth, num_heads
        )
        if pretrained:
            file = None if isinstance(pretrained, bool) else Path(pretrained)
            _load_encoder(self.encoder, in_channels, file)
        self.bridge = _convolution(embed_dim, bridge_channels)
        inputs = [bridge_channels, *decoder_channels]
        skips = [*reversed(resnet_channels[:3]), 0]
        self.up1, self.up2, self.up3, self.up4 = (
            _Up(channels, skip, out)
            for channels, skip, out in zip(inputs[:-1], skips, inputs[1:], strict=True)
        )
        self.head = nn.Conv2d(decoder_channels[-1], out_channels, kernel_size=3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Computes the logits of ``image``."""
        half, quarter, eighth, tokens = self.encode(image)
        features = self.bridge(tokens)
        features = self.up1(features, eighth.shape[2:], eighth)
        features = self.up2(features, quarter.shape[2:], quarter)
        features = self.up3(features, half.shape[2:], half)
        features = self.up4(features, image.shape[2:], None)
        return self.head(features)  # type: ignore[no-any-return]

    def encode(
        self, image: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Computes the ResNet's features at 1/2, 1/4 and 1/8, and a map of the tokens at 1/16."""
        embed = self.encoder.patch_embed
        stem = embed.backbone.stem
        half = stem.norm(stem.conv(image))
        features = [stem.pool(half)]
        for stage in embed.backbone.stages:
            features.append(stage(features[-1]))
        grid = embed.proj(features[-1])
        tokens = self.encoder._pos_embed(grid.permute(0, 2, 3, 1))
        tokens = self.encoder.norm(self.encoder.blocks(tokens))
        tokens = tokens[:, self.encoder.num_prefix_tokens :]
        return half, features[1], features[2], tokens.transpose(1, 2).reshape(grid.shape)


class _Up(nn.Module):
    """Grows a map to ``size``, joins it with features of that size, and convolves twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            _convolution(in_channels + skip_channels, out_channels),
            _convolution(out_channels, out_channels),
        )

    def forward(
        self, features: torch.Tensor, size: list[int], skip: torch.Tensor | None
    ) -> torch.Tensor:
        features = F.interpolate(features, size=size, mode="bilinear", align_corners=True)
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        return self.convolutions(features)  # type: ignore[no-any-return]


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _hybrid_encoder(
    in_channels: int,
    resnet_layers: Sequence[int],
    resnet_channels: Sequence[int],
    embed_dim: int,
    depth: int,
    num_heads: int,
) -> VisionTransformer:
    """The ResNet and the transformer of ``timm``, an extra that other networks do without.

    Raises:
        SettingError: If it is not installed.
    """
    try:
        from timm.layers import HybridEmbed, StdConv2dSame  # noqa: PLC0415
        from timm.models.resnetv2 import ResNetV2  # noqa: PLC0415
        from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415
    except ImportError:
        raise SettingError(
            "timm: is needed by TransUNet and not installed; pip install timm"
        ) from None

    stem_channels, *stage_channels = resnet_channels
    backbone = ResNetV2(
        list(resnet_layers),
        tuple(stage_channels),
        num_classes=0,
        in_chans=in_channels,
        global_pool="",
        stem_chs=stem_channels,
        stem_type="same",
        preact=False,
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    return VisionTransformer(
        img_size=PRETRAINED_SIZE,
        patch_size=1,
        in_chans=in_channels,
        num_classes=0,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        embed_layer=partial(HybridEmbed, backbone=backbone),
        dynamic_img_size=True,
    )


def _load_encoder(encoder: VisionTransformer, in_channels: int, file: Path | None) -> None:
    """Fills ``encoder`` with the weights from ``file`` or the hub, adapted to its channels."""
    from timm.models import get_pretrained_cfg, load_pretrained  # noqa: PLC0415

    published = get_pretrained_cfg(PRETRAINED)
    # Without a number of classes, timm leaves out the classifier, however many classes it has.
    config = {**published.to_dict(), "num_classes": None}  # type: ignore[union-attr]
    fault = (
        f"pretrained: {PRETRAINED} cannot be downloaded from the Hugging Face hub; "
        "pass a local file of weights"
    )
    if file is not None:
        fault = (
            f"{file}: holds no weights that fit this encoder; "
            f"pass a file of weights, by default of {PRETRAINED}"
        )
        config |= {"file": str(file), "custom_load": file.suffix == ".npz"}
        if not file.is_file():
            raise InputError(f"{file}: does not exist; pass a file of weights as pretrained")
    try:
        load_pretrained(
            encoder, config, num_classes=0, in_chans=in_channels, filter_fn=_complete_weights
        )
    except Exception as error:  # torch, safetensors, NumPy and the hub each have their own
        raise InputError(fault) from error
    tensors = len(encoder.state_dict())
    _LOGGER.info(
        "pretrained: all %d tensors of the encoder come from %s", tensors, file or PRETRAINED
    )


def _complete_weights(
    weights: dict[str, torch.Tensor], encoder: VisionTransformer
) -> dict[str, torch.Tensor]:
    """The weights under timm's current names, on the encoder's grid, of which none is missing.

    Raises:
        KeyError: If weights are missing or superfluous, which timm itself would accept.
    """
    from timm.models.vision_transformer_hybrid import checkpoint_filter_fn  # noqa: PLC0415

    weights = checkpoint_filter_fn(weights, encoder)
    differing = encoder.state_dict().keys() ^ weights.keys()
    if any(key not in weights or key.startswith(("patch_embed", "blocks")) for key in differing):
        raise KeyError(*differing)
    return weights
