"""Program: object detection, with one subcommand per task."""

import importlib
from typing import NoReturn

from bit_keras.runs import program
from bit_keras.system import command_line

SUBCOMMANDS = {
    "train": "trains a RetinaNet on a BiT, on images with boxes",
    "evaluate": "average precision of a detector, as COCO measures it",
    "predict": "finds objects in image files: names, scores and boxes, as text, JSON and pictures",
    "export": "writes a detector for TF Serving, or as an ONNX or LiteRT file",
}


def run() -> NoReturn:
    """Runs the subcommand that the command line names."""
    command = command_line.program_of(run)
    name = command_line.subcommand(command, SUBCOMMANDS)
    module = importlib.import_module(f"bit_keras.detection.programs.{name}")
    module.define_flags()
    options = getattr(module, "RUN", {})
    program.run(f"bit_keras.detection {name}", module.main, module.GROUPS, program=f"{command} {name}", **options)


if __name__ == "__main__":
    run()
