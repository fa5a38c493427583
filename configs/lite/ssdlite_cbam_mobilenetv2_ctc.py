"""The upgraded SSD in light: attention and fusion on MobileNetV2, trained from scratch on a CPU."""

_base_ = './ssdlite_mobilenetv2_ctc.py'

model = dict(neck=[_base_.model.neck, _base_.attention, _base_.fusion])
