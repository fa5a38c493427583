"""A CTC data set with the paper's steps of preparation and enhancement (2.5); a leaf puts Resize between them."""

_base_ = './ctc_detection.py'

train_steps = [
    dict(type='ctc_mm.LoadMicroscopyImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    # Eq. 1, "brightness reducing": pixel by pixel, so crop or field is one.
    dict(type='ctc_mm.GammaTransform', gamma=1.5),
    # The paper's enhancement (2.5): 40/60 px, 50-70 %, flips, each on half of the images.
    dict(type='ctc_mm.ShiftScaleFlip'),
]
train_end = [dict(type='PackDetInputs')]
test_steps = [dict(type='ctc_mm.LoadMicroscopyImage'), dict(type='ctc_mm.GammaTransform', gamma=1.5)]
test_end = [
    # After Resize: the metric compares in the pixels of the original image.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'group', 'um_per_px'))
]
train_dataloader = dict(batch_size=8)
