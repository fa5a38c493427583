"""Unlabelled imFISH fields: data/imfish/{train,val,test}/, one patient in one of them alone.

Each file holds DAPI, CEP8 and CD45; the rule labels them when they are read. The pipelines stand beside the model,
whose input size they need.
"""

data_root = 'data/imfish/'
classes = ('CTC', 'non-CTC')  # class 0 is the target
num_classes = len(classes)
metainfo = dict(classes=classes, target='CTC')

dataset = dict(
    type='ctc_mm.ImFISHFieldDataset',
    data_root=data_root,
    # Place or name in the file; for a file a channel: dict(dapi='*_DAPI.tif', cep8='*_CEP8.tif', cd45='*_CD45.tif').
    channels=dict(dapi=0, cep8=1, cd45=2),
    overlap_px=64,  # the widest nucleus that lies whole in some window
    metainfo=metainfo)
workers = dict(num_workers=2, persistent_workers=True)

train_dataloader = dict(
    batch_size=4,  # many small steps: short trainings from scratch need them
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix=dict(img='train/')))
val_dataloader = dict(
    batch_size=8,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix=dict(img='val/'), test_mode=True))
test_dataloader = dict(
    batch_size=8,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix=dict(img='test/'), test_mode=True))

val_evaluator = dict(type='ctc_mm.CTCDetMetric')
test_evaluator = dict(type='ctc_mm.CTCDetMetric')
