"""Sources of images with boxes: COCO's JSON, VOC's XML, CSV files, TensorFlow Datasets."""
