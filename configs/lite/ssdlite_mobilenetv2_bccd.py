"""Plain SSDLite on real blood cells, the baseline of ssdlite_cbam_mobilenetv2_bccd.py."""

_base_ = [
    '../_base_/models/ssdlite320_mobilenetv2.py', '../_base_/datasets/bccd_320.py',
    '../_base_/schedules/adamw_cosine_24e.py', '../_base_/default_runtime.py'
]

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
