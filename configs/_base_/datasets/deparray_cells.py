"""DEPArray cells as deparray_to_cells.py writes them: bright field and DAPI of each cell, tested on bright field."""

_base_ = './single_cells.py'

data_root = 'data/deparray/'
dataset = dict(data_root=data_root)
train_dataloader = dict(dataset=dataset)
# An export gives no diameters: where the table has none either, they are measured for the size-only baseline.
val_dataloader = dict(dataset=dict(**dataset, size_from='auto_or_image'))
test_dataloader = dict(dataset=dict(**dataset, size_from='auto_or_image'))

# Patients differ in lamp, exposure and offset. DAPI gets the same (reading 20), its background dark.
load_cell = dict(normalize='background')
