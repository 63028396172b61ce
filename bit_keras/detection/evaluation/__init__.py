"""Average precision as COCO computes it, and the report."""
