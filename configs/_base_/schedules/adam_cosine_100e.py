"""The paper's schedule (3.1): Adam 6e-4, cosine decay, 50 epochs with a frozen backbone, 50 without, early stopping."""

max_epochs = 100
freeze_epochs = 50
base_lr = 6e-4

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    # "Rate of weight loss" is weight decay (reading 5).
    optimizer=dict(type='Adam', lr=base_lr, betas=(0.9, 0.999), weight_decay=5e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=base_lr * 0.01, by_epoch=True, convert_to_iter_based=True)
]
