"""What every training of a cell classifier shares: logs, checkpoints, seed."""

default_scope = 'mmpretrain'
custom_imports = dict(imports=['ctc_mm'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),  # iterations
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The best weights by validation, in a figure that is defined where a class is absent; the last ones for --resume.
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='ctc/balanced_log_loss', rule='less'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='ctc_mm.ProgressHook'),
    dict(type='ctc_mm.EpochSeedHook'),  # a resumed training is the one that was interrupted
    dict(type='ctc_mm.OperatingPointHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
# MMEngine's pattern means over the last 50 of all that is called a loss, the metric's log losses too.
log_processor = dict(
    type='LogProcessor', window_size=50, by_epoch=True, mean_pattern=r'^(?!ctc/).*(loss|time|data_time|grad_norm).*')
log_level = 'INFO'
load_from = None
resume = False
