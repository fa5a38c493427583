"""Curves in TensorBoard: event files in <work dir>/<time>/vis_data. `tools/train.py --track tensorboard` does the same.

In a leaf: _base_ = ['./light_cells.py', '../_base_/tracking/tensorboard.py']
           visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.tensorboard])
"""

tensorboard = dict(type='TensorboardVisBackend')
