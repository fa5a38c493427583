"""DEPArray cells at 64 px: data, pipelines, schedule, runtime."""

_base_ = ['./datasets/deparray_cells.py', './schedules/adamw_cosine_20e.py', './classification_runtime.py']

input_size = 64
resize_cell = dict(type='Resize', scale=(input_size, input_size))
train_pipeline = [_base_.load_cell, *_base_.augment_cell, resize_cell, _base_.pack_cell]
test_pipeline = [_base_.load_cell, resize_cell, _base_.pack_cell]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
