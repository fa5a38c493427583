"""Plain SSDLite on CTC data: model, data, pipelines, schedule."""

_base_ = [
    './models/ssdlite320_mobilenetv2.py', './datasets/ctc_detection_320.py', './schedules/adamw_cosine_24e.py',
    './default_runtime.py'
]

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
