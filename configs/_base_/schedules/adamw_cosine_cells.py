"""Cell classifiers from scratch on a CPU: warm-up, AdamW, cosine."""

max_epochs = 20
base_lr = 1e-3

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=base_lr * 0.01, by_epoch=True, convert_to_iter_based=True)
]
