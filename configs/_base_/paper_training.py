"""The paper's training (3.1) of a detector on pretrained weights: schedule, frozen phase, early stopping, logs."""

_base_ = ['./schedules/adam_cosine_100e.py', './default_runtime.py']

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ctc_mm.FreezeBackboneHook', epochs=_base_.freeze_epochs),
    # Counts validations after unfreezing only.
    dict(type='ctc_mm.DelayedEarlyStoppingHook', monitor='ctc/mAP50', min_delta=0.001, patience=10),
]
