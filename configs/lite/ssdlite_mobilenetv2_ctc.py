"""Plain SSDLite for the CPU, the baseline of ssdlite_cbam_mobilenetv2_ctc.py."""

_base_ = '../_base_/ssdlite320_ctc.py'
