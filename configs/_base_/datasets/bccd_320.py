"""BCCD, real blood cells (RBC, WBC, Platelets), at 320 px with the pipelines of the light detectors."""

_base_ = './ctc_detection_320.py'

data_root = 'data/bccd/'
classes = ('Platelets', 'RBC', 'WBC')
num_classes = len(classes)
metainfo = dict(classes=classes, target='WBC')
dataset = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='JPEGImages/'))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
