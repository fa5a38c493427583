"""How layers of our own start."""

# Variances stay as they are from layer to layer. Xavier would start a depthwise convolution at a fraction of that, as
# it counts every channel among the outputs of one; learning is slow then.
SEPARABLE_INIT = dict(type="Kaiming", layer="Conv2d", mode="fan_in", nonlinearity="linear", distribution="uniform")
