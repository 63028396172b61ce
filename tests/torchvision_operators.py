"""Allows timm to be imported if torchvision and torch come from different builds.

torchvision's wheel on PyPI is for GPUs. With a CPU build of torch its operators do not load, and importing it fails
because these two are missing, which timm never calls.
"""

import torch

for _operator in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _operator):
        torch.library.define(f"torchvision::{_operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
