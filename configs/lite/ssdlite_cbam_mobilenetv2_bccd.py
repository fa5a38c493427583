"""The upgraded SSD in light on real blood cells (RBC, WBC, Platelets)."""

_base_ = './ssdlite_mobilenetv2_bccd.py'

model = dict(neck=[_base_.model.neck, _base_.attention, _base_.fusion])
