"""Backbones: small ones of our own, and how those of the libraries are filled with weights of other libraries."""

from ctc_mm.models.backbones.alexnet import AlexNet
from ctc_mm.models.backbones.imfish_cnn import ImFISHCNN
from ctc_mm.models.backbones.pretrained_classifier import PretrainedClassifier
from ctc_mm.models.backbones.pretrained_vgg import PretrainedVGG
from ctc_mm.models.backbones.vgg_keys import vgg16_to_ssd_vgg

__all__ = ["AlexNet", "ImFISHCNN", "PretrainedClassifier", "PretrainedVGG", "vgg16_to_ssd_vgg"]
