"""The one place that knows the `grad-cam` library, which our maps are compared with."""

import numpy as np
import pytest
import torch


def library_map(model, image, layer, label):
    """Grad-CAM of (C, H, W) ``image`` by the library: float32 (H, W) in [0, 1]."""
    reason = "the comparison needs the grad-cam package (pip install grad-cam)"
    library = pytest.importorskip("pytorch_grad_cam", reason=reason)
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets", reason=reason)
    model.eval()
    inputs = model.data_preprocessor(dict(inputs=[image]), training=False)["inputs"]
    with library.GradCAM(model, [dict(model.named_modules())[layer]]) as cam:
        # In a frozen model the gradient has to come from the image.
        found = cam(inputs.requires_grad_(), [targets.ClassifierOutputTarget(label)])
    return found[0]


def correlation(first, second):
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


def random_image(side_px, seed=0, channels=3):
    """An image of blobs, so that a map has something to differ on."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, channels, 8, 8))).float()
    return torch.nn.functional.interpolate(coarse, size=(side_px, side_px), mode="bilinear")[0]
