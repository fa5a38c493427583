"""A CTC data set as the converters write it: data/ctc/{images/, train.json, val.json, test.json}.

The pipelines stand beside the model, whose input size they need.
"""

data_root = 'data/ctc/'
classes = ('CTC', 'WBC')  # class 0 is the target; ('CTC', ) alone works too
num_classes = len(classes)
metainfo = dict(classes=classes, target='CTC')

dataset = dict(
    type='ctc_mm.CTCDetDataset', data_root=data_root, data_prefix=dict(img='images/'), metainfo=metainfo)
workers = dict(num_workers=2, persistent_workers=True)

train_dataloader = dict(
    batch_size=4,  # many small steps: short trainings from scratch need them
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.json'))
val_dataloader = dict(
    batch_size=8,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='val.json', test_mode=True))
test_dataloader = dict(
    batch_size=8,
    **workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='test.json', test_mode=True))

val_evaluator = dict(type='ctc_mm.CTCDetMetric')
test_evaluator = dict(type='ctc_mm.CTCDetMetric')
