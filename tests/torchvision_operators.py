"""Lets timm be imported where torchvision and torch are of different builds.

torchvision's wheel on PyPI is for GPUs. Beside a CPU build of torch its operators do not load, and importing it
fails for want of these two, which timm never calls.
"""

import torch

for _operator in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _operator):
        torch.library.define(f"torchvision::{_operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
