"""Small sets of single cells with every class and channel that the classification configs ask for."""

import numpy as np

from ctc_mm.formats.cell_set import CellRow, CellSetWriter

SIDE = 40
PER_CLASS = 3


def write_cells(out_dir, classes, channels, seed=0):
    """Three cells of each class in each split, in every channel; the first class has the larger cells.

    Args:
        out_dir: folder of the set.
        classes: labels.
        channels: one image of each cell in each of them: dark cells in ``brightfield``, bright ones elsewhere.
        seed: of the noise.
    """
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    with CellSetWriter(out_dir) as writer:
        for split in ("train", "val", "test"):
            for place, label in enumerate(classes):
                for number in range(PER_CLASS):
                    disc = np.hypot(y, x) < 14 - 5 * place + number
                    for channel in channels:
                        levels = (150.0, -70.0) if channel == "brightfield" else (20.0, 180.0)
                        image = levels[0] + levels[1] * disc + noise.normal(0, 4, disc.shape)
                        writer.add(
                            CellRow(
                                cell_id=f"{split}_{label}_{number}",
                                channel=channel,
                                label=label,
                                group=f"{split}_{number}",
                                source=f"{split}.tif",
                                box_xyxy=(0, 0, SIDE, SIDE),
                                um_per_px=0.5,
                                split=split,
                            ),
                            np.clip(image, 0, 255).astype(np.uint8),
                        )
    return out_dir
