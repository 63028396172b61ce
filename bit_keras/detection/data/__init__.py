"""Images with boxes: sources, the scan before a training, augmentation and batches."""
