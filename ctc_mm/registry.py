"""Child registries of MMEngine's, scope ``ctc_mm``: in configs our parts are written ``ctc_mm.X``.

Each registry names the packages that MMEngine imports when it first looks something up there.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

DATASETS = Registry("dataset", parent=MMENGINE_DATASETS, scope="ctc_mm", locations=["ctc_mm.datasets"])
DATA_SAMPLERS = Registry(
    "data sampler", parent=MMENGINE_DATA_SAMPLERS, scope="ctc_mm", locations=["ctc_mm.datasets.samplers"]
)
TRANSFORMS = Registry("transform", parent=MMENGINE_TRANSFORMS, scope="ctc_mm", locations=["ctc_mm.datasets.transforms"])
MODELS = Registry("model", parent=MMENGINE_MODELS, scope="ctc_mm", locations=["ctc_mm.models"])
WEIGHT_INITIALIZERS = Registry(
    "weight initializer", parent=MMENGINE_WEIGHT_INITIALIZERS, scope="ctc_mm", locations=["ctc_mm.models"]
)
HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="ctc_mm", locations=["ctc_mm.engine.hooks"])
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope="ctc_mm", locations=["ctc_mm.evaluation.metrics"])
OPTIM_WRAPPERS = Registry(
    "optimizer wrapper", parent=MMENGINE_OPTIM_WRAPPERS, scope="ctc_mm", locations=["ctc_mm.engine.amp"]
)
VISBACKENDS = Registry("vis_backend", parent=MMENGINE_VISBACKENDS, scope="ctc_mm", locations=["ctc_mm.engine.tracking"])
