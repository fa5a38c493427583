"""What every detection run shares: logs, checkpoints, seed."""

default_scope = 'mmdet'
custom_imports = dict(imports=['ctc_mm'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),  # iterations
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The best weights by validation; the last one for --resume.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='ctc/mAP50', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='ctc_mm.ProgressHook'),
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50),
    dict(type='ctc_mm.OperatingPointHook'),
    dict(type='ctc_mm.DroppedCellsHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
