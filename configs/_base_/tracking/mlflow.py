"""Runs in MLflow, in mlruns/ beside the work dir or where MLFLOW_TRACKING_URI says. `tools/train.py --track mlflow` does the same.

In a leaf: _base_ = ['./light_cells.py', '../_base_/tracking/mlflow.py']
           visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.mlflow])
"""

mlflow = dict(type='ctc_mm.MLflowBackend', exp_name='ctc_mm')
