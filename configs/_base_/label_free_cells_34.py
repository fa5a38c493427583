"""Bright-field cells at 34 px as in label-free-resnet-2020: 1000 + 1000 by augmentation, Adam 1e-4, batches of 16."""

_base_ = ['./datasets/single_cells.py', './schedules/adamw_cosine_20e.py', './classification_runtime.py']

input_size = 34
# Background and brightness of each crop are normalised (reading 23).
load_cell = dict(normalize='background')
resize_cell = dict(type='Resize', scale=(input_size, input_size))
test_pipeline = [dict(_base_.load_cell, **load_cell), resize_cell, _base_.pack_cell]

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type='ctc_mm.AugmentToN',
        n=1000,  # of each class, after the split, of the training part alone (reading 24)
        dataset=dict(**_base_.train_dataloader.dataset, pipeline=test_pipeline[:1]),
        augment=[dict(type='ctc_mm.CellGeometry', scale_prob=0, shift_prob=0)],  # rotation, shear, reflections
        pipeline=test_pipeline[1:]))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-4))
param_scheduler = []  # the paper's learning rate is constant
