"""What the intensity transforms expect of ``results['img']``."""

from __future__ import annotations

import numpy as np


def require_0_to_255(results: dict, transform: str) -> np.ndarray:
    """The pipeline's image, if it is on the 0-255 scale.

    Raises:
        ValueError: the image is uint16, or float with pixels outside 0-255; the message names transform and file.
    """
    image = results["img"]
    if image.dtype == np.uint8:
        return image
    fits = image.dtype.kind == "f" and (image.size == 0 or (image.min() >= 0 and image.max() <= 255))
    if not fits:
        found = f"{image.dtype} from {image.min():g} to {image.max():g}"
        raise ValueError(
            f"{results.get('img_path', 'img')}: {transform} needs pixels in 0-255, received {found}; "
            "load with ctc_mm.LoadMicroscopyImage or LoadCellImage and put normalisation after it"
        )
    return image
