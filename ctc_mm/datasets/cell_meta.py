"""What a sample of a single cell carries beside its pixels."""

# For ``PackInputs(meta_keys=...)``. The label's number is not among them: PackInputs packs ``gt_label`` by itself.
CELL_META_KEYS = (
    "sample_idx", "img_path", "ori_shape", "img_shape", "cell_id", "channel", "group", "source", "box_xyxy",
    "um_per_px", "diameter_um", "diameter_px", "split", "fold", "label", "copy_index", "img_paths", "img_planes",
)  # fmt: skip
