"""Program: measure the average precision of a detector.

Example:
    python -m bit_keras.detection evaluate --model=runs/birds --dataset=coco:birds --output=measures.json
"""

from absl import flags

from bit_keras.detection.data.loading import FORMS, open_dataset, uses_classes
from bit_keras.detection.evaluation.measuring import detections
from bit_keras.detection.inference.opening import open_detector
from bit_keras.detection.training.config import LOAD_OPTIONS, TrainConfig, loading_options
from bit_keras.inference.named import check_output
from bit_keras.network.folding import folded
from bit_keras.runs import program
from bit_keras.runs.opening import load_data
from bit_keras.system.checks import WrongType
from bit_keras.system.files import write_json
from bit_keras.system.logs import doing, logger
from bit_keras.system.optional import require

GROUPS = {
    "model": ("model",),
    "data": ("dataset", *LOAD_OPTIONS, "split", "resolution", "batch_size"),
    "results": ("output", "detections"),
}


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Weight file of a detector, or the folder of its run.", required=True)
    flags.DEFINE_string("dataset", None, f"Images with boxes: {FORMS}.", required=True)
    program.define_flags(TrainConfig, LOAD_OPTIONS)
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "Images to evaluate.")
    flags.DEFINE_integer(
        "resolution", None, "Side of the images in pixels; that of the weights if not given.", lower_bound=2
    )
    flags.DEFINE_integer("batch_size", 8, "Images per batch.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON file to write, with the measures of all classes together and of each.")
    flags.DEFINE_string("detections", None, "JSON file to write, with all detections as COCO's server takes them.")


def main() -> None:
    require("the evaluation of a detector", "pycocotools", "grain")  # the extra of the first has the other
    values = flags.FLAGS
    output, boxes = check_output("output", values.output), check_output("detections", values.detections)
    options = loading_options(program.values(TrainConfig, LOAD_OPTIONS))
    detector = open_detector(values.model)  # first: reading the data may take long
    if options["classes"] is None and uses_classes(values.dataset):
        options["classes"] = detector.class_names
    source = load_data(values.dataset, None, open_dataset, **options)
    source = source if values.split == "test" else source.tested_on(values.split)
    detector.check_classes(source.class_names, source.name)
    size = values.resolution or detector.resolution
    if size is None:
        raise WrongType(f"resolution must be given: {values.model} does not state that of its training")
    with doing(f"evaluating on {source.describe_test()}"):
        evaluator = detections(folded(detector), source, batch_size=values.batch_size, size=size)
    measures = evaluator.measures()
    for text, value in measures.lines().items():
        print(f"{text:<60} {value}")
    if output is not None:
        write_json(output, {"numbers": measures.numbers, "classes": measures.per_class, "resolution": size})
        logger.info("measures in %s", output)
    if boxes is not None:
        evaluator.write_official(boxes)
        logger.info("detections in %s", boxes)
