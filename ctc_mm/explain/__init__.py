"""Explaining models: Grad-CAM of a detector's boxes, from the mathematics on tensors to pictures and files."""
