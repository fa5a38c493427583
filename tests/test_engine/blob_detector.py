"""A detector whose boxes are known: bright blobs, CTC where they are brightest, all with one score."""

import torch
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from scipy import ndimage
from torch import nn


@MODELS.register_module(force=True)
class BlobDetector(BaseDetector):
    """Boxes of what is brighter than ``level`` (0 to 255); from 180 on in the mean it is class 0, else class 1.

    Args:
        level: grey value.
        score: of all boxes; stored as a weight, so that checkpoints differ.
    """

    def __init__(self, level=100.0, score=0.0, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.level = level
        self.score = nn.Parameter(torch.tensor(float(score)))

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for image, sample in zip(batch_inputs.mean(1), batch_data_samples, strict=True):
            marked, _ = ndimage.label(image.numpy() > self.level)
            boxes, labels = [], []
            for number, (rows, columns) in enumerate(ndimage.find_objects(marked), 1):
                boxes.append([columns.start, rows.start, columns.stop, rows.stop])
                labels.append(0 if image.numpy()[marked == number].mean() >= 180 else 1)
            scale = torch.tensor([*sample.scale_factor] * 2)
            found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) / scale
            scores = self.score.detach().expand(len(found))
            sample.pred_instances = InstanceData(bboxes=found, scores=scores, labels=torch.tensor(labels).long())
        return batch_data_samples

    def loss(self, batch_inputs, batch_data_samples):
        return {"loss": self.score.square()}

    def extract_feat(self, batch_inputs):
        return batch_inputs

    def _forward(self, batch_inputs, batch_data_samples=None):
        return batch_inputs
