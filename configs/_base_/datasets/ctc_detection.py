"""A CTC data set as the converters write it: data/ctc/{images/, train.json, val.json, test.json}.

The pipelines stand beside the model, whose input size they need.
"""

data_root = 'data/ctc/'
classes = ('CTC', 'WBC')  # class 0 is the target; ('CTC', ) alone works too
num_classes = len(classes)
metainfo = dict(classes=classes, target='CTC')

train_dataloader = dict(
    batch_size=4,  # many small steps: short trainings from scratch need them
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ctc_mm.CTCDetDataset',
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo))
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ctc_mm.CTCDetDataset',
        test_mode=True,
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo))
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ctc_mm.CTCDetDataset',
        test_mode=True,
        data_root=data_root,
        ann_file='test.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo))

val_evaluator = dict(type='ctc_mm.CTCDetMetric')
test_evaluator = dict(type='ctc_mm.CTCDetMetric')
