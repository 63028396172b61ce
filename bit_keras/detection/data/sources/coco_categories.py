"""The 80 categories of COCO's boxes, with their ids, which have gaps: eleven of 91 categories were never annotated.

Source: "categories" of instances_val2017.json, https://cocodataset.org.
"""

CATEGORIES = {
    **dict(enumerate(("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"), 1)),
    **dict(enumerate(("traffic light", "fire hydrant"), 10)),
    **dict(enumerate(("stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"), 13)),
    **dict(enumerate(("elephant", "bear", "zebra", "giraffe"), 22)),
    **dict(enumerate(("backpack", "umbrella"), 27)),
    **dict(enumerate(("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"), 31)),
    **dict(enumerate(("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"), 39)),
    **dict(enumerate(("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"), 46)),
    **dict(enumerate(("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"), 55)),
    **dict(enumerate(("potted plant", "bed"), 64)),
    **dict(enumerate(("dining table",), 67)),
    **dict(enumerate(("toilet",), 70)),
    **dict(enumerate(("tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven"), 72)),
    **dict(enumerate(("toaster", "sink", "refrigerator"), 80)),
    **dict(enumerate(("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"), 84)),
}
