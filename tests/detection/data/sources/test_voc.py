"""Sources from VOC's XML files, and the faults that such files may have."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras.data import DataError
from bit_keras.detection.data.loading import open_dataset

pytestmark = pytest.mark.any_backend

OBJECT = """<object><name>{0}</name><pose>Left</pose><truncated>0</truncated>{5}
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
<bndbox><xmax>{4}</xmax><xmin>{2}</xmin><ymax>{3}</ymax><ymin>{1}</ymin></bndbox></object>"""


def xml_of(name: str, scene: tuple, difficult: str = "<difficult>0</difficult>", filename: str | None = None) -> str:
    """Returns an XML file as VOC has it: pixels count from 1 and both corners are in the box."""
    height, width, boxes = scene
    objects = [
        OBJECT.format(label, top + 1, left + 1, bottom, right, difficult) for label, top, left, bottom, right in boxes
    ]
    return (
        f"<annotation><folder>VOC2007</folder><filename>{filename or f'{name}.png'}</filename>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )


@pytest.fixture
def plain(tmp_path, scenes) -> Path:
    """XML files beside their images."""
    folder = tmp_path / "plain"
    scenes.write_images(folder)
    for name, scene in scenes.SCENES.items():
        (folder / f"{name}.xml").write_text(xml_of(name, scene))
    return folder


@pytest.fixture
def devkit(tmp_path, scenes) -> Path:
    """The layout of VOC's development kit."""
    folder = tmp_path / "VOC2007"
    scenes.write_images(folder / "JPEGImages")
    for sub in ("Annotations", "ImageSets/Main"):
        (folder / sub).mkdir(parents=True)
    for name, scene in scenes.SCENES.items():
        (folder / "Annotations" / f"{name}.xml").write_text(xml_of(name, scene))
    for split, names in {"train": "ab", "val": "c d", "test": "e", "trainval": "abcd"}.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names.replace(" ", "")) + "\n")
        (folder / "ImageSets" / "Main" / f"zebra_{split}.txt").write_text("a -1\n")
        for label in scenes.COLOURS:
            (folder / "ImageSets" / "Main" / f"{label}_{split}.txt").write_text("a  1\nb -1\n")
    return folder


def test_pixels_count_from_1(plain, scenes):
    source = open_dataset(f"voc:{plain}", divide=False)
    assert source.class_names == ("cat", "cow", "dog"), "sorted, without classes of parts"
    assert source.category_ids == (1, 2, 3)
    for index, name in enumerate(scenes.SCENES):
        image, boxes = source.test.read(index)
        assert source.test.ids[index] == f"{name}.xml"
        for (top, left, bottom, right), label in zip(boxes.corners.astype(int), boxes.labels, strict=True):
            colour = scenes.COLOURS[source.class_names[label]]
            assert (image[top:bottom, left:right] == colour).mean() > 0.9, "the other rectangle may cover a part"
            assert not (image[top:bottom, left - 1 : left] == colour).any()
            assert not (image[bottom : bottom + 1, left:right] == colour).any()
    assert source.test.boxes[0].corners.tolist() == [[5, 10, 20, 30], [22, 35, 38, 55]]
    assert source.test.boxes[0].areas.tolist() == [300, 320]


def test_development_kit(devkit):
    (devkit / "Annotations" / "d.xml").write_text(
        (devkit / "Annotations" / "d.xml").read_text().replace("<difficult>0", "<difficult>1")
    )
    (devkit / "Annotations" / "unlisted.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match="val must have boxes that are not ignored, got none in 2 usable images"):
        open_dataset(f"voc:{devkit}")
    (devkit / "ImageSets" / "Main" / "val.txt").write_text("c\nd\nb\n")
    (devkit / "ImageSets" / "Main" / "train.txt").write_text("a")
    source = open_dataset(f"voc:{devkit}")
    assert source.class_names == ("cat", "cow", "dog", "zebra"), "as ImageSets lists them"
    assert [split.ids for split in (source.train, source.validation, source.test)] == [
        ("Annotations/a.xml",),
        ("Annotations/c.xml", "Annotations/d.xml", "Annotations/b.xml"),
        ("Annotations/e.xml",),
    ]
    assert source.validation.boxes[1].ignored.tolist() == [True]
    (devkit / "Annotations" / "e.xml").unlink()  # as the test split of VOC2012
    assert open_dataset(f"voc:{devkit}").test.ids == source.validation.ids
    (devkit / "ImageSets" / "Main" / "train.txt").unlink()
    (devkit / "ImageSets" / "Main" / "val.txt").unlink()
    source = open_dataset(f"voc:{devkit}")
    assert (source.num_train, source.num_test) == (2, 2), "trainval: of a and b, and of c and d, one each for testing"
    assert source.train.num_boxes


def test_folders_of_splits(tmp_path, scenes):
    for split, names in {"train": "abc", "valid": "de"}.items():
        scenes.write_images(tmp_path / split, names)
        for name in names:
            (tmp_path / split / f"{name}.xml").write_text(xml_of(name, scenes.SCENES[name]))
    source = open_dataset(f"voc:{tmp_path}")
    assert (source.num_train, source.num_test, source.test_split) == (3, 2, "valid")


def test_classes_of_a_file(plain, tmp_path):
    (tmp_path / "names.txt").write_text("dog\nbird\ncat\ncow\n")
    source = open_dataset(f"voc:{plain}", classes=tmp_path / "names.txt", divide=False)
    assert source.class_names == ("dog", "bird", "cat", "cow")
    assert source.test.boxes[0].labels.tolist() == [2, 0]
    (plain / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(
        DataError, match=r"(?s)2 of 5 .*b\.png: b\.xml, object 1 has the class 'cow', which is not among"
    ):
        open_dataset(f"voc:{plain}")


def test_images_of_another_name_or_folder(plain, scenes):
    text = xml_of("a", scenes.SCENES["a"], filename="IMG 1.JPG")
    (plain / "a.xml").write_text(text)  # renamed later: the file called like the XML file
    assert open_dataset(f"voc:{plain}", divide=False).test.images.images[0] == str(plain / "a.png")
    (plain / "images").mkdir()
    (plain / "a.png").rename(plain / "images" / "IMG 1.JPG")
    assert open_dataset(f"voc:{plain}", divide=False).test.images.images[0] == str(plain / "images" / "IMG 1.JPG")


@pytest.mark.parametrize("size", ["<size/>", "", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_stated(size, plain, scenes):
    text = (plain / "a.xml").read_text()
    begin, end = text.index("<size>"), text.index("</size>") + len("</size>")
    (plain / "a.xml").write_text(text[:begin] + size + text[end:])
    assert open_dataset(f"voc:{plain}", divide=False).test.sizes[0].tolist() == [40, 60]
    (plain / "a.xml").write_text((plain / "a.xml").read_text().replace("<xmax>55<", "<xmax>70<"))
    with pytest.raises(DataError, match=r"a\.png: box 2 .* leaves the image of 60x40 pixels"):
        open_dataset(f"voc:{plain}")


# {what the message says: (text in the XML file of a.png, what replaces it)}
FAULTS = {
    r"a\.png: a\.xml, object 1 must have a bndbox with the numbers": ("<xmin>11<", "<xmin>x<"),
    r"a\.png: a\.xml, object 2 must have a bndbox": ("<xmax>55</xmax>", ""),
    r"a\.png: box 1 .* must have finite numbers": ("<xmin>11<", "<xmin>nan<"),
    r"a\.png: box 1 .* is empty": ("<xmin>11<", "<xmin>31<"),
    r"a\.png: box 1 .* leaves the image": ("<xmin>11<", "<xmin>-1<"),
    r"a\.png: a\.xml, object 1 has the class ''": ("<name>cat<", "<name> <"),
    r"a\.png: a\.xml, object 1 must have difficult 0 or 1, got 'maybe'": ("<difficult>0<", "<difficult>maybe<"),
    r"a\.png: its annotations are for 59x40 pixels, the upright image has 60x40": ("<width>60<", "<width>59<"),
    r"a\.xml: a\.xml: the filename must lie in the folder of the images, got '../a\.png'": (">a.png<", ">../a.png<"),
    r"a\.xml: .* got '/etc/passwd'": (">a.png<", ">/etc/passwd<"),
    r"b\.png: is listed more than once": (">a.png<", ">b.png<"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_listed_by_file(message, plain):
    before, after = FAULTS[message]
    text = (plain / "a.xml").read_text()
    assert before in text
    (plain / "a.xml").write_text(text.replace(before, after, 1))
    with pytest.raises(DataError, match=f"(?s)1 of 5 images cannot be used:.*{message}"):
        open_dataset(f"voc:{plain}", classes=_names(plain))
    usable = open_dataset(f"voc:{plain}", classes=_names(plain), skip_unreadable=True, divide=False)
    assert "a.xml" not in usable.test.ids


def _names(folder: Path) -> Path:
    (folder.parent / "names.txt").write_text("cat\ncow\ndog\n")
    return folder.parent / "names.txt"


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), r"a document type \(<!DOCTYPE\) is not allowed"),
        (LAUGHS.encode("utf-16"), r"a document type \(<!DOCTYPE\) is not allowed"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        (b"", "no element found"),
        (b"<annotation>", "no element found"),
        (b"<html/>", "must have <annotation>, got <html>"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding"),
        (b"\x89PNG\r\n", "not well-formed"),
        (b"<annotation>" + b" " * 2**24 + b"</annotation>", "bytes; at most 16,777,216 are read"),
    ],
)
def test_what_is_no_xml_of_voc(content, message, plain):
    (plain / "c.xml").write_bytes(content)
    with pytest.raises(DataError, match=rf"c\.xml: must be an XML file in the form of VOC.*{message}") as error:
        open_dataset(f"voc:{plain}")
    assert error.value.files == (str(plain / "c.xml"),)
    assert open_dataset(f"voc:{plain}", skip_unreadable=True, divide=False).num_test == 4


def test_lists_stay_in_the_folder(devkit):
    (devkit / "ImageSets" / "Main" / "train.txt").write_text("a\n../../secret\n")
    with pytest.raises(DataError, match=r"train\.txt: images must lie in the folder of the data, got \.\./\.\./secret"):
        open_dataset(f"voc:{devkit}")
    (devkit / "ImageSets" / "Main" / "train.txt").write_text("a\nnone\n")
    with pytest.raises(DataError, match=r"none\.xml: must be an XML file in the form of VOC: No such file"):
        open_dataset(f"voc:{devkit}")


def test_a_folder_without_files(tmp_path):
    with pytest.raises(DataError, match="must hold XML files, in itself or in Annotations"):
        open_dataset(f"voc:{tmp_path}")
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(f"voc:{tmp_path}/none")


def test_boxes_of_photographs_with_letters_in_upper_case(plain, scenes):
    Image.fromarray(scenes.paint(*scenes.SCENES["a"])).save(plain / "a.JPG", format="JPEG", quality=95)
    (plain / "a.png").unlink()
    image, boxes = open_dataset(f"voc:{plain}", divide=False).test.read(0)
    top, left, bottom, right = boxes.corners[0].astype(int)
    assert np.abs(image[top:bottom, left:right].astype(int) - scenes.COLOURS["cat"]).mean() < 5


def _change_each_box(folder: Path, change) -> None:
    """Rewrites the corners of all boxes, [xmin, ymin, xmax, ymax]."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    for file in folder.glob("*.xml"):
        root = ET.fromstring(file.read_text())
        size = [int(root.findtext(f"size/{side}")) for side in ("width", "height")]
        for box in root.findall("object/bndbox"):
            values = change([float(box.findtext(side)) for side in sides], *size)
            for side, value in zip(sides, values, strict=True):
                box.find(side).text = f"{value:g}"
        file.write_text(ET.tostring(root, "unicode"))


@pytest.mark.parametrize("has_size", [True, False])
def test_relative_boxes(has_size, plain):
    _change_each_box(plain, lambda box, width, height: [*np.array(box) / [width, height, width, height]])
    if not has_size:
        for file in plain.glob("*.xml"):
            file.write_text(file.read_text().replace("width>", "w>"))
    with pytest.raises(
        DataError,
        match=r"^plain: no number of its boxes is larger than 1, so they are not in pixels: "
        r"multiply xmin and xmax by the width of the image, ymin and ymax by its height$",
    ):
        open_dataset(f"voc:{plain}")


def test_relative_boxes_in_one_image(plain):
    text = (plain / "b.xml").read_text()
    for before, after in (("xmin>1<", "xmin>0.1<"), ("ymin>1<", "ymin>0.2<"), ("40</xmax", "0.5</xmax")):
        assert before in text.replace("<part>", "")
        text = text.replace(before, after)
    (plain / "b.xml").write_text(text.replace("30</ymax", "0.6</ymax"))
    with pytest.raises(
        DataError,
        match=r"1 of 5 images .*\n  /.*/b\.png: box 1 \[0\.1, 0\.2, 0\.5, 0\.6\] has no number above 1, as relative",
    ):
        open_dataset(f"voc:{plain}")


ORDERS = {
    "[left, top, width, height] (xywh)": lambda box, *size: [*box[:2], box[2] - box[0] + 1, box[3] - box[1] + 1],
    "[top, left, bottom, right] (yxyx)": lambda box, *size: [box[1], box[0], box[3], box[2]],
}


@pytest.mark.parametrize("has_size", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_another_order_is_named(order, has_size, plain):
    _change_each_box(plain, ORDERS[order])
    if not has_size:
        for file in plain.glob("*.xml"):
            file.write_text(file.read_text().replace("width>", "w>"))
    with pytest.raises(DataError) as error:
        open_dataset(f"voc:{plain}")
    expected = (
        f"\nthe numbers fit as {order}; they were read as [left, top, right, bottom] (xyxy): VOC's form has xmin, "
        f"ymin, xmax, ymax: correct the files, or write a CSV file, with box_format={order[-5:-1]}\nskip_unreadable"
    )
    assert expected in str(error.value)


def test_lists_of_names_with_spaces(devkit):
    for file in [*devkit.glob("Annotations/*.xml"), *devkit.glob("JPEGImages/*.png")]:
        if file.suffix == ".xml":
            file.write_text(file.read_text().replace(f"<filename>{file.stem}.png", f"<filename>im {file.stem} 1.png"))
        file.rename(file.with_stem(f"im {file.stem} 1"))
    lists = devkit / "ImageSets" / "Main"
    (lists / "train.txt").write_text("im a 1\n\n im b 1  -1 \n")
    (lists / "val.txt").write_text("im d 1 1\nim c 1\t0\n")
    (lists / "test.txt").write_text("im e 1\n")
    source = open_dataset(f"voc:{devkit}")
    assert source.train.ids == ("Annotations/im a 1.xml", "Annotations/im b 1.xml")
    assert source.validation.ids == ("Annotations/im d 1.xml", "Annotations/im c 1.xml")
    (lists / "train.txt").write_text("im a 1\nim z\n")
    with pytest.raises(DataError, match=r"/im z\.xml: must be an XML file in the form of VOC: No such file"):
        open_dataset(f"voc:{devkit}")
