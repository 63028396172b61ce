"""Creates small files in place of a user's photographs and of downloads."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

import bit_keras
from bit_keras.convert import convert


def main() -> None:
    random = np.random.default_rng(0)
    for number, name in enumerate(
        ("robin", "wren's nest", "größe ü")
    ):  # plain, with a quote, with a space and other letters
        folder = Path("birds", name)
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = random.integers(0, 128, (40, 50, 3)) + 60 * np.eye(3, dtype=int)[number]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.JPG", "JPEG")
        (folder / ".DS_Store").write_bytes(b"x")
    for photo in (Path("photo.jpg"), Path("more_photos", "robin 1.jpg")):
        photo.parent.mkdir(exist_ok=True)
        photo.write_bytes(Path("birds", "robin", "0.JPG").read_bytes())
    write_boxes(Path("boxes"))
    bit_keras.save_npz(bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10), "weights.npz")
    bit_keras.save_npz(bit_keras.BiT("R17x0.5", 1000), "ilsvrc.npz")
    mirror = Path("mirror")
    mirror.mkdir()
    lines = {"ids": [f"n{k:08}" for k in range(1000)], "lemmas": [f"thing {k}, object {k}" for k in range(1000)]}
    for content, names in lines.items():
        (mirror / f"ilsvrc2012_wordnet_{content}.txt").write_text("".join(f"{name}\n" for name in names))
    convert("weights.npz", "model.safetensors")
    print("made birds/, boxes/, photo.jpg, more_photos/, weights.npz, ilsvrc.npz, model.safetensors and mirror/")


def write_boxes(folder: Path) -> None:
    """Writes a few images of squares, and their boxes in the form of COCO."""
    folder.mkdir()
    images, annotations = [], []
    for number in range(10):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[10:40, 5 * number : 5 * number + 30] = 200
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 60, "width": 80})
        box = {"id": number + 1, "image_id": number, "category_id": 1, "bbox": [5 * number, 10, 30, 30], "iscrowd": 0}
        annotations.append({**box, "area": 900})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (folder / "train.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
