"""How every compared detector chooses its boxes at test: the paper's threshold and NMS, as the SSD's."""

box_selection = dict(score_thr=0.02, nms=dict(type='nms', iou_threshold=0.45), max_per_img=1000)
