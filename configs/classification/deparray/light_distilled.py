"""A small ResNet on bright field, taught by another one that sees DAPI; tested on bright field (reading 20).

The teacher learns beside the student. One that is trained already: --cfg-options model.freeze_teacher=True
model.teacher.init_cfg.type=ctc_mm.PretrainedClassifier model.teacher.init_cfg.checkpoint=FILE
"""

_base_ = './light_brightfield.py'

model = dict(type='ctc_mm.CrossModalDistiller', teacher=dict(), temperature=4.0, soft_weight=0.5)
train_pipeline = [dict(_base_.load_cell, to_channels=None), *_base_.train_pipeline[1:]]
train_dataloader = dict(
    dataset=dict(channels=('brightfield', 'dapi'), combine='stack', pipeline=train_pipeline))
