"""The paper's full model: SSD300-VGG16, CBAM on four levels, fusion, negatives to positives 1.2.

Anchors 21..315, Adam 6e-4, 50 frozen + 50 free epochs, cosine, early stopping (paper 2.6, 3.1).
"""

_base_ = './ablation/ssd_attention_fusion.py'

model = dict(train_cfg=dict(neg_pos_ratio=1.2))
