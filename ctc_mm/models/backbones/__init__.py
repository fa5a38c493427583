"""Backbones: how MMDetection's are filled with weights of other libraries."""

from ctc_mm.models.backbones.pretrained_vgg import PretrainedVGG
from ctc_mm.models.backbones.vgg_keys import vgg16_to_ssd_vgg

__all__ = ["PretrainedVGG", "vgg16_to_ssd_vgg"]
