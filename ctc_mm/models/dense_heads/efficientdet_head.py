"""EfficientDet's class and box networks on MMDetection's anchor head."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import DepthwiseSeparableConvModule, build_activation_layer, build_norm_layer
from mmdet.models.dense_heads import AnchorHead
from mmengine.model import BaseModule, ModuleList, bias_init_with_prob, normal_init
from torch import Tensor, nn

from ctc_mm.errors import ConfigError
from ctc_mm.models.layers import SEPARABLE_INIT
from ctc_mm.registry import MODELS

# Share of anchors that a new network calls a cell: focal loss starts stable (Lin et al. 2017, section 4.1).
PRIOR_PROBABILITY = 0.01


class SharedNet(BaseModule):
    """A stack of separable convolutions that all levels share, with BatchNorms of each level's own, then a prediction.

    Statistics differ from level to level, so a shared BatchNorm would normalise each by a mixture.

    Args:
        in_channels: channels of every level.
        feat_channels: channels of the hidden convolutions.
        out_channels: channels of the prediction.
        num_levels: levels that arrive.
        stacked_convs: hidden convolutions.
        norm_cfg: the norm behind each of them.
        act_cfg: the activation behind the norm.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        out_channels: int,
        num_levels: int,
        stacked_convs: int,
        norm_cfg: dict,
        act_cfg: dict,
    ) -> None:
        super().__init__(init_cfg=SEPARABLE_INIT)
        widths = [in_channels] + [feat_channels] * stacked_convs
        self.convs = ModuleList(
            DepthwiseSeparableConvModule(before, after, 3, padding=1, bias=False, norm_cfg=None, act_cfg=None)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.norms = ModuleList(
            ModuleList(build_norm_layer(norm_cfg, feat_channels)[1] for _ in range(stacked_convs))
            for _ in range(num_levels)
        )
        self.activation = build_activation_layer(act_cfg)
        self.predict = DepthwiseSeparableConvModule(widths[-1], out_channels, 3, padding=1, norm_cfg=None, act_cfg=None)

    @property
    def last_conv(self) -> nn.Conv2d:
        """The convolution whose bias is the prediction's."""
        return self.predict.pointwise_conv.conv

    def forward(self, feature: Tensor, level: int) -> Tensor:
        """(N, in_channels, H, W) of one level -> (N, out_channels, H, W)."""
        for conv, norm in zip(self.convs, self.norms[level], strict=True):
            feature = self.activation(norm(conv(feature)))
        return self.predict(feature)


@MODELS.register_module()
class EfficientDetHead(AnchorHead):
    """Head of EfficientDet (Tan et al. 2020, section 4.2): separable convolutions shared over levels, a norm a level.

    Anchors, assignment, losses and the choice of boxes are ``AnchorHead``'s; the paper uses focal loss with alpha 0.25
    and gamma 1.5, and three scales by three ratios of anchors on levels 3 to 7::

        bbox_head=dict(type='ctc_mm.EfficientDetHead', num_classes=2, in_channels=64, feat_channels=64,
                       stacked_convs=3, anchor_generator=dict(type='AnchorGenerator', ...), loss_cls=..., ...)

    Args:
        num_classes: classes without background.
        in_channels: channels of every level.
        feat_channels: channels of the hidden convolutions.
        stacked_convs: hidden convolutions of each network; EfficientDet-D0 has 3.
        norm_cfg: the norm behind each of them.
        act_cfg: the activation behind the norm; the paper's is swish.
        **kwargs: of MMDetection's ``AnchorHead``.

    Raises:
        ConfigError: levels differ in their number of anchors, a negative ``stacked_convs``, or no
            ``feat_channels``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 64,
        stacked_convs: int = 3,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        if stacked_convs < 0:
            raise ConfigError(f"EfficientDetHead: stacked_convs must be 0 or more; received {stacked_convs}.")
        if feat_channels < 1:
            raise ConfigError(f"EfficientDetHead: feat_channels must be at least 1; received {feat_channels}.")
        self.stacked_convs = stacked_convs
        self.norm_cfg = norm_cfg or dict(type="BN", momentum=0.01, eps=1e-3)
        self.act_cfg = act_cfg or dict(type="SiLU", inplace=True)
        # SharedNet initialises itself; AnchorHead's default would fill every convolution anew.
        kwargs.setdefault("init_cfg", None)
        super().__init__(num_classes, in_channels, feat_channels=feat_channels, **kwargs)

    def _init_layers(self) -> None:
        anchors = self.prior_generator.num_base_priors
        if len(set(anchors)) > 1:
            raise ConfigError(
                f"EfficientDetHead: levels share their layers, so each needs the same number of anchors; the anchor "
                f"generator gives {list(anchors)}."
            )
        net_cfg = dict(
            in_channels=self.in_channels,
            feat_channels=self.feat_channels,
            num_levels=len(anchors),
            stacked_convs=self.stacked_convs,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )
        self.class_net = SharedNet(out_channels=anchors[0] * self.cls_out_channels, **net_cfg)
        self.box_net = SharedNet(out_channels=anchors[0] * self.bbox_coder.encode_size, **net_cfg)

    def init_weights(self) -> None:
        """Initialise both networks; predictions start small, the classes' at ``PRIOR_PROBABILITY``."""
        super().init_weights()
        normal_init(self.class_net.last_conv, std=0.01, bias=bias_init_with_prob(PRIOR_PROBABILITY))
        normal_init(self.box_net.last_conv, std=0.01)

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits and box deltas of every anchor.

        Args:
            feats: (N, in_channels, H_i, W_i), one a level of the anchor generator, finest first.

        Returns:
            Per level (N, anchors * classes, H_i, W_i) logits and (N, anchors * 4, H_i, W_i) deltas.

        Raises:
            ConfigError: another number of levels than the anchor generator's.
        """
        levels = self.prior_generator.num_levels
        if len(feats) != levels:
            raise ConfigError(
                f"EfficientDetHead: {len(feats)} levels arrive, but the anchor generator has {levels} strides."
            )
        scores = [self.class_net(feature, level) for level, feature in enumerate(feats)]
        return scores, [self.box_net(feature, level) for level, feature in enumerate(feats)]
