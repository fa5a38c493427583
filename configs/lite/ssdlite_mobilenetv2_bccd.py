"""Plain SSDLite on real blood cells, the baseline of ssdlite_cbam_mobilenetv2_bccd.py."""

_base_ = ['./ssdlite_mobilenetv2_ctc.py']

data_root = 'data/bccd/'
classes = ('Platelets', 'RBC', 'WBC')
metainfo = dict(classes=classes, target='WBC')
dataset = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='JPEGImages/'))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
model = dict(bbox_head=dict(num_classes=len(classes)))
