"""All of a light run on BCCD but its model: data at 320 px, pipelines, short training from scratch, logs."""

_base_ = ['./datasets/bccd_320.py', './schedules/adamw_cosine_24e.py', './default_runtime.py']
