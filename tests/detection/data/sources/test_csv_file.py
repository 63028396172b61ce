"""Sources from CSV files with a row per box, and the faults that such files may have."""

from pathlib import Path

import numpy as np
import pytest

from bit_keras.data import DataError
from bit_keras.detection.data.loading import open_dataset

pytestmark = pytest.mark.any_backend

HEADER = "filename,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def write(tmp_path, scenes):
    """Returns a function that writes lines to boxes.csv, beside the images of all scenes, and returns its path."""
    scenes.write_images(tmp_path)

    def write(*lines: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
        path = tmp_path / "boxes.csv"
        path.write_bytes((newline.join(lines) + newline).encode(encoding))
        return path

    return write


def _rows(scenes, form) -> list[str]:
    """Returns the lines of all scenes; `form` makes the cells of a box of (top, left, bottom, right, height, width)."""
    lines = []
    for name, (height, width, boxes) in scenes.SCENES.items():
        lines += [f"{name}.png,{label},{form(*box, height, width)}" for label, *box in boxes]
        lines += [] if boxes else [f"{name}.png,,{form()}"]
    return lines


def _xyxy(top="", left="", bottom="", right="", height=1, width=1) -> str:
    return f"{left},{top},{right},{bottom}"


def _xywh(top=0, left=0, bottom=0, right=0, height=0, width=0) -> str:
    return f"{left},{top},{right - left},{bottom - top}" if height else ",,,"


def _relative_yxyx(top=0, left=0, bottom=0, right=0, height=0, width=0) -> str:
    return f"{top / height},{left / width},{bottom / height},{right / width}" if height else ",,,"


def _one_cell(*box) -> str:
    return f'"[{_xywh(*box)}]"' if box else ""


FORMS = {
    "filename,class,xmin,ymin,xmax,ymax": (_xyxy, {}),
    "Image_Name,Label,X1,Y1,X2,Y2": (_xyxy, {}),
    "img,species,x0,y0,x1,y1": (_xyxy, {"box_format": "xyxy"}),
    "path,category,left,top,right,bottom": (_xyxy, {"box_unit": "pixels"}),
    "image,label,x,y,width,height": (_xywh, {}),
    "image,label,x_min,y_min,w,h": (_xywh, {"box_columns": ["x_min", "y_min", "w", "h"], "box_format": "xywh"}),
    "photo,kind,a,b,c,d": (
        _relative_yxyx,
        {
            "image_column": "photo",
            "label_column": "Kind",
            "box_columns": list("abcd"),
            "box_format": "yxyx",
            "box_unit": "relative",
        },
    ),
    "image_id,label,bbox": (_one_cell, {"box_format": "xywh"}),
}


@pytest.mark.parametrize("header", FORMS)
def test_every_form_has_the_same_boxes(header, write, scenes, write_coco):
    form, options = FORMS[header]
    path = write(header, *_rows(scenes, form))
    source = open_dataset(path, **options, divide=False)
    assert (source.name, source.class_names, source.num_test) == ("boxes", ("cat", "cow", "dog"), 5)
    assert source.test.ids == ("a.png", "b.png", "c.png", "d.png", "e.png")
    expected = open_dataset(f"coco:{write_coco()}", divide=False)
    for ours, theirs in zip(source.test.boxes, expected.test.boxes, strict=True):
        order = np.lexsort(theirs.corners.T)
        ours_in_order = np.lexsort(ours.corners.T)
        np.testing.assert_allclose(ours.corners[ours_in_order], theirs.corners[order], atol=1e-4)
        assert [source.class_names[label] for label in ours.labels[ours_in_order]] == [
            expected.class_names[label] for label in theirs.labels[order]
        ]
    other = write(header, *reversed(_rows(scenes, form)), newline="\r\n", encoding="utf-8-sig")
    assert open_dataset(other, **options, divide=False).describe() == source.describe(), "the order has no effect"


def test_other_separators_and_columns(write):
    header = "filename;width;height;class;xmin;ymin;xmax;ymax;iscrowd;subset;comment"
    path = write(
        header,
        "a.png;60;40;cat;10;5;30;20;0;Train;",
        "a.png;60;40;cat;1;1;3;3;1;train;many",
        "b.png;40;60;cow;0;0;40.5;30;;test;",
        "c.png;50;50;;;;;;;val;",
        "d.png;64;30;dog;3;4;60;28;false;val;",
        encoding="utf-16",
    )
    source = open_dataset(path)
    assert [split.ids for split in (source.train, source.validation, source.test)] == [
        ("a.png",),
        ("c.png", "d.png"),
        ("b.png",),
    ]
    assert source.train.boxes[0].ignored.tolist() == [True, False]
    assert source.train.boxes[0].corners.tolist() == [[1, 1, 3, 3], [5, 10, 20, 30]]
    assert source.test.boxes[0].corners.tolist() == [[0, 0, 30, 40]]
    assert source.class_names == ("cat", "cow", "dog")


def test_classes_of_a_file(write, scenes, tmp_path):
    path = write(HEADER, *_rows(scenes, _xyxy))
    (tmp_path / "names.txt").write_text("dog\nhorse\ncat\ncow\n")
    assert open_dataset(path, classes=tmp_path / "names.txt").class_names == ("dog", "horse", "cat", "cow")
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    with pytest.raises(DataError, match=r"(?s)2 of 5 .*b\.png: line 4 has the class 'cow', which is not among"):
        open_dataset(path, classes=tmp_path / "names.txt")
    with pytest.raises(FileNotFoundError, match="classes must be a text file"):
        open_dataset(path, classes=tmp_path / "none.txt")


# {what the message says: (arguments, lines)}
PROVEN_WRONG = {
    r"no number of its boxes is larger than 0\.9, so they are not in pixels: state box_unit=relative": (
        {},
        [HEADER, "a.png,cat,0.1,0.2,0.5,0.9"],
    ),
    r"relative boxes must lie in \[0, 1\], got 30: state box_unit=pixels": (
        {"box_unit": "relative"},
        [HEADER, "a.png,cat,10,5,30,20"],
    ),
    r"(?s)a\.png: .*leaves the image of 60x40 pixels.*read as xyxy in relative": (
        {"box_unit": "relative"},
        [HEADER, "a.png,cat,0.5,0.5,1.2,0.9"],
    ),
    r"(?s)a\.png: line 2 .* is empty\nthe numbers fit as \[left, top, width, height\] \(xywh\); they were read as "
    r"\[left, top, right, bottom\] \(xyxy\): state box_format=xywh": (
        {"box_columns": list("abcd"), "box_format": "xyxy"},
        ["image,label,a,b,c,d", "a.png,cat,35,22,20,16"],
    ),
    r"(?s)a\.png: line 2 .* leaves the image of 60x40 pixels\nthe numbers fit as .*xyxy\); .* state box_format=xyxy": (
        {"box_columns": list("abcd"), "box_format": "xywh"},
        ["image,label,a,b,c,d", "a.png,cat,35,22,55,38"],
    ),
    r"(?s)line 3 .* is empty\nthe .*: state box_columns=xmin,ymin,xmax,ymax and box_format=xywh": (
        {},
        [HEADER, "a.png,cat,0,0,30,20", "d.png,cat,35,2,20,16"],
    ),
    r"(?s)a\.png: line 2 .* leaves the image of 60x40 pixels.*were read as xywh in pixels: box_format and box_unit": (
        {"box_columns": list("abcd"), "box_format": "xywh"},
        ["image,label,a,b,c,d", "a.png,cat,35,22,75,78"],
    ),
    r"5 of 6 boxes have no number larger than 0\.6, so they are not in pixels: state box_unit=relative\. These have "
    r"another unit than most:\n  /.*/a\.png: line 4 \[5, 6, 25, 26\]$": (
        {},
        [HEADER, *(f"{name}.png,cat,.1,.2,.5,.6" for name in "ab"), "a.png,cat,5,6,25,26"]
        + [f"{name}.png,cat,.1,.2,.5,.6" for name in "cde"],
    ),
    r"1 of 2 images cannot be used:\n  /.*/a\.png: line 3 \[5, 6, 25, 26\] must lie in \[0, 1\], as relative boxes": (
        {"box_unit": "relative"},
        [HEADER, "a.png,cat,.1,.2,.5,.6", "a.png,cat,5,6,25,26", "b.png,cat,0,0,1,1"],
    ),
    r"3 of 5 boxes have no number larger than 0\.6": (
        {"skip_unreadable": True},
        [HEADER, "a.png,cat,5,6,25,26", "b.png,cat,5,6,25,26", *(f"{name}.png,cat,.1,.2,.5,.6" for name in "cde")],
    ),
    r"1 of 2 images cannot be used:\n  /.*/b\.png: line 3 \[0\.1, 0\.2, 0\.5, 0\.6\] has no number above 1, as": (
        {},
        [HEADER, "a.png,cat,5,6,25,26", "b.png,cat,.1,.2,.5,.6"],
    ),
    r"its columns xmin, ymin, xmax, ymax are xyxy, got box_format=xywh": (
        {"box_format": "xywh"},
        [HEADER, "a.png,cat,10,5,20,15"],
    ),
    r"the order of the numbers in bbox must be stated, as box_format=xyxy, yxyx, xywh": (
        {},
        ["image,label,bbox", 'a.png,cat,"[1, 2, 3, 4]"'],
    ),
}


@pytest.mark.parametrize("message", PROVEN_WRONG)
def test_a_format_that_the_values_prove_wrong(message, write):
    options, lines = PROVEN_WRONG[message]
    with pytest.raises(DataError, match=message):
        open_dataset(write(*lines), **options)


# {what the message says: lines below the header}
FAULTY_LINES = {
    "line 2: must have 6 cells, got 5": ["a.png,cat,1,2,3"],
    "line 2: a box must be four numbers, or all of them empty, got '1', '2', '3', ''": ["a.png,cat,1,2,3,"],
    "line 2: a box must be four numbers, or all of them empty, got '1', '2', '3', 'x'": ["a.png,cat,1,2,3,x"],
    "line 3: a box must have a class": ["a.png,cat,1,2,3,4", "b.png,,1,2,3,4"],
    "line 2: the image must not be empty": [",cat,1,2,3,4"],
    "line 3: has the class 'cat' but no box; an image": ["a.png,cat,1,2,3,4", "b.png,cat,,,,"],
    "a.png has this box of the class 'cat' already in line 2": [
        "a.png,cat,1,2,3,4",
        "a.png,dog,1,2,3,4",
        "a.png,cat,1,2.0,3,4",
    ],
    "a.png has a row without a box and another row, line 2": ["a.png,cat,1,2,3,4", "a.png,,,,,"],
}


@pytest.mark.parametrize("message", FAULTY_LINES)
def test_faulty_lines(message, write):
    with pytest.raises(DataError, match="has 1 faulty line:") as error:
        open_dataset(write(HEADER, *FAULTY_LINES[message]))
    assert message in str(error.value)


def test_faulty_splits_sizes_and_flags(write):
    header = f"{HEADER},split,image_width,image_height,crowd"
    faults = {
        "line 2: the split must be one of train, test": "a.png,cat,1,2,3,4,dev,60,40,0",
        "line 2: an ignored box must be stated by 0 or 1, got 'x'": "a.png,cat,1,2,3,4,train,60,40,x",
        "line 2: the size of the image must be whole numbers, got 40 and 6.5": "a.png,cat,1,2,3,4,train,6.5,40,0",
    }
    for message, line in faults.items():
        with pytest.raises(DataError) as error:
            open_dataset(write(header, line))
        assert message in str(error.value)
    with pytest.raises(DataError, match=r"a\.png must be in one split, is also in that of line 2"):
        open_dataset(write(header, "a.png,cat,1,2,3,4,train,60,40,0", "a.png,cat,1,2,3,4,test,60,40,0"))
    with pytest.raises(DataError, match=r"a\.png has another size than in line 2"):
        open_dataset(write(header, "a.png,cat,1,2,3,4,train,60,40,0", "a.png,cat,1,2,3,4,train,60,41,0"))
    with pytest.raises(DataError, match=r"a\.png: its annotations are for 61x40 pixels"):
        open_dataset(write(header, "a.png,cat,1,2,3,4,train,61,40,0", "b.png,cat,1,2,3,4,test,40,60,0"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b,c,d,e,f", "line 1: there must be columns path, label, xmin, ymin, xmax, ymax"),
        ("filename,class,width,height", "there must be columns xmin, ymin, xmax, ymax"),
        ("filename,image,class,xmin,ymin,xmax,ymax", "it must be clear which column is the path, got filename, image"),
        ("filename,class,xmin,xmin,xmax,ymax", "the columns must have different names"),
        ("", "got none"),
    ],
)
def test_faulty_headers(header, message, write):
    with pytest.raises(DataError, match=message):
        open_dataset(write(header, "a.png,cat,1,2,3,4"))


def test_other_faults(write, tmp_path):
    path = write(HEADER, "none.png,cat,1,2,3,4", "a.png,cat,nan,2,3,4", "b.png,cat,5,5,5,9")
    with pytest.raises(
        DataError, match=r"(?s)3 of 3 .*a\.png: line 3 .*finite.*b\.png: line 4 .* is empty.*none.png: no such"
    ):
        open_dataset(path)
    with pytest.raises(DataError, match="must list boxes, got none"):
        open_dataset(write(HEADER))
    with pytest.raises(DataError, match="there must be a column boxes, got filename"):
        open_dataset(path, box_columns=["boxes"], box_format="xyxy")
    with pytest.raises(DataError, match="box_columns must be the names of four columns or of one"):
        open_dataset(path, box_columns=["a", "b"], box_format="xyxy")
    with pytest.raises(ValueError, match=r"box_format must be one of xyxy, yxyx, xywh; got 'cxcywh'"):
        open_dataset(path, box_format="cxcywh")
    with pytest.raises(ValueError, match="box_unit must be one of pixels, relative"):
        open_dataset(path, box_unit="percent")
    with pytest.raises(ValueError, match=r"image_dir cannot be used for .*, only for coco"):
        open_dataset(path, image_dir=tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_dataset(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="must hold comma-separated values"):
        open_dataset(path)
