"""The upgraded SSD in light: attention, fusion and ratio 1.2 on MobileNetV2, trained from scratch on a CPU."""

_base_ = './ssdlite_mobilenetv2_ctc.py'

model = dict(
    neck=[
        _base_.model.neck,
        dict(type='ctc_mm.CBAMNeck', in_channels=_base_.levels),
        dict(
            type='ctc_mm.TransposedConvFusionNeck',
            in_channels=_base_.levels,
            deconv_channels=(32, 64, 128),
            norm_cfg=_base_.norm),
    ])
