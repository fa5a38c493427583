"""The upgraded SSD in light on real blood cells (RBC, WBC, Platelets)."""

_base_ = './ssdlite_mobilenetv2_bccd.py'

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
