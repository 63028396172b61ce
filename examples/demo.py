"""The whole workflow in a few minutes on two CPU cores: fine-tune on real images, evaluate, export, reload, predict.

Example:
    python -m examples.demo --workdir=demo_output
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

import bit_keras
from bit_keras import data
from bit_keras.system import command_line
from bit_keras.system.logs import doing

_WORKDIR = flags.DEFINE_string("workdir", "demo_output", "Folder for the run; must not contain another run.")
_STEPS = flags.DEFINE_integer("steps", 300, "Updates of the training.")

PRETRAINED = "BiT-mini-R17x0.5"
RANDOM = "R17x0.5"
RESOLUTION = 32


def demo(workdir: str, steps: int) -> None:
    """Fine-tunes the bundled network on handwritten digits, exports it and compares the export in hub.KerasLayer.

    For comparison it then trains the same network from random weights, with as many updates. In the end it names images
    from files.
    """
    saved_model = Path(workdir, "saved_model")
    if saved_model.exists():
        raise FileExistsError(f"{workdir} contains a finished demo; remove it or choose another --workdir")

    print(
        f"{PRETRAINED} was pre-trained on clothes, letters and clip art (bit_keras/weights/{PRETRAINED}.md) and never"
    )
    print("saw a digit. The digits are 8x8 pixels and real (bit_keras/data/digits.md).")
    result = train(PRETRAINED, workdir, steps, export_dir=str(saved_model))
    print(
        f"\ntest accuracy {result.test_accuracy:.2%} on {result.summary['test_examples']} digits that it never saw, "
        f"{result.summary['seconds']:.0f} s of training, {result.summary['images_per_second']:.0f} images/s"
    )
    print("pictures:", *sorted(str(path) for path in Path(workdir, "report").glob("*.png")), sep="\n  ")

    print(f"\nreloading {saved_model} with hub.KerasLayer in a process without bit_keras:")
    compare_with_hub(result.model, saved_model)

    print("\nthe same network from random weights, with the schedule of BiT's upstream training for the HyperRule:")
    control = train(RANDOM, str(Path(workdir, "random_weights")), steps, schedule="upstream")
    print(f"\ntest accuracy after {steps} updates")
    print(f"  from {PRETRAINED}: {result.test_accuracy:.2%}")
    print(f"  from random weights:   {control.test_accuracy:.2%}")

    name_images(Path(workdir), saved_model)


def train(model: str, workdir: str, steps: int, **options):
    """Trains on the digits, with small images and few updates."""
    return bit_keras.finetune(
        model=model,
        dataset="digits",
        workdir=workdir,
        steps=steps,
        batch_size=64,
        resolution=RESOLUTION,
        flip=False,  # a mirrored 2 is not a 2
        **options,
    )


def name_images(workdir: Path, saved_model: Path) -> None:
    """Writes a few test digits as files and prints their classes: in Python by the SavedModel, and by the program."""
    folder, digits = workdir / "new_images", data.load("digits", verbose=False).test
    folder.mkdir()
    for number in range(5):
        image, label = digits.read(number)
        Image.fromarray(image).save(folder / f"image_{number}_of_a_{label}.png")
    print("\nnew images, named by the exported model:")
    for row in bit_keras.predict(saved_model, folder, top=1, verbose=False):
        print(f"{row.file}  {row.probability:6.1%} {row.name}")
    command = ["-m", "bit_keras.predict", f"--model={workdir / 'weights.npz'}", str(folder), "--top=1"]
    print(f"\nand by the weights of the run: python {' '.join(command)}", flush=True)
    print(subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True).stdout, end="")


def compare_with_hub(model: bit_keras.BiT, saved_model: Path) -> None:
    """Runs `examples.hub_layer` on the test digits; raises RuntimeError if its outputs differ."""
    batches = data.test_batches(data.load("digits"), batch_size=512, crop=RESOLUTION)
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches.as_numpy_iterator()))
    with tempfile.TemporaryDirectory() as scratch:
        expected = Path(scratch, "expected.npz")
        np.savez(expected, images=(images + 1) / 2, labels=labels, logits=model.predict(images, verbose=0))
        # tensorflow-hub 0.16.1 imports pkg_resources, which warns that it is deprecated.
        command = [sys.executable, "-W", "ignore:pkg_resources:UserWarning", "-m", "examples.hub_layer"]
        with doing("running hub.KerasLayer in another process"):
            done = subprocess.run([*command, saved_model, expected], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"examples.hub_layer failed:\n{done.stderr}")
        print(done.stdout, end="", flush=True)


def main() -> None:
    demo(_WORKDIR.value, _STEPS.value)


if __name__ == "__main__":
    command_line.run(main)
