"""imFISH nuclei as imfish_to_cells.py writes them: the CEP8 image in the nucleus' rectangle (reading 17)."""

_base_ = './single_cells.py'

data_root = 'data/imfish_cells/'
classes = ('CTC', 'non-CTC')  # class 0 is the target
num_classes = len(classes)
metainfo = dict(classes=classes)
channels = 'cep8'

dataset = dict(data_root=data_root, channels=channels, metainfo=metainfo)
train_dataloader = dict(
    # As many others as CTCs, drawn anew in each epoch, in training alone (reading 18).
    sampler=dict(_delete_=True, type='ctc_mm.DownSampler', ratio=1.0),
    dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)

# Signals are told by their number: how bright a slide was exposed says nothing. Noise is not blown up to signals.
load_cell = dict(normalize='background')
# Neither defocus nor noise: signals are three pixels wide.
augment_cell = [
    dict(type='ctc_mm.CellGeometry'),
    dict(type='ctc_mm.CellIllumination', uneven_prob=0),
]
