"""The paper's full model on real blood cells (RBC, WBC, Platelets)."""

_base_ = './ssd_cbam_vgg16_ctc.py'

data_root = 'data/bccd/'
classes = ('Platelets', 'RBC', 'WBC')
metainfo = dict(classes=classes, target='WBC')
dataset = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='JPEGImages/'))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
model = dict(bbox_head=dict(num_classes=len(classes)))
