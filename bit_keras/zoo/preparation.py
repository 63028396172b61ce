"""What preparing the data of benchmarks needs beyond TensorFlow Datasets."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What preparing a data set needs beyond TensorFlow Datasets.

    Attributes:
        gigabytes: size of the download; None for data that a user downloads.
        packages: names of Python modules.
        note: what to do, or what to know, in sentences; "" if nothing.
    """

    gigabytes: float | None = None
    packages: tuple[str, ...] = ()
    note: str = ""


def preparation_of(builder: str) -> Preparation:
    """Returns the preparation of a data set, given as "name", "name:version" or "name/config:version"."""
    return _PREPARATION[builder.partition(":")[0].partition("/")[0]]


_ILSVRC2012 = (
    "By hand, with an account: ILSVRC2012_img_val.tar (6.7 GB) of https://image-net.org/download-images in the folder "
    "of manual downloads"
)
_PREPARATION = {
    "caltech101": Preparation(
        0.14,
        note="TensorFlow Datasets draws the training images in the order in which the file system lists them: images "
        "that one preparation trains on may be test images of another. Compare only models of the same preparation.",
    ),
    "cifar100": Preparation(0.16),
    "clevr": Preparation(19.0),
    "diabetic_retinopathy_detection": Preparation(
        None,
        ("cv2",),
        "By hand, with an account: the folders train, test and sample with their *.jpeg, and trainLabels.csv, of "
        "https://www.kaggle.com/c/diabetic-retinopathy-detection in the folder of manual downloads.",
    ),
    "dmlab": Preparation(3.0),
    "dsprites": Preparation(0.03, ("h5py",)),
    "dtd": Preparation(0.6),
    "eurosat": Preparation(
        0.09,
        note="If the certificate of madm.dfki.de has expired, put EuroSAT.zip from "
        "https://huggingface.co/datasets/torchgeo/eurosat into the folder of manual downloads.",
    ),
    "imagenet2012": Preparation(
        None,
        note=f"{_ILSVRC2012}, and ILSVRC2012_img_train.tar to train. A missing archive is not reported: its split is "
        "left out.",
    ),
    "imagenet2012_real": Preparation(
        None,
        note=f"{_ILSVRC2012}. The labels, real.json of google-research/reassessed-imagenet, are downloaded.",
    ),
    "imagenet_v2": Preparation(1.2, note="From https://huggingface.co/datasets/vaishaal/ImageNetV2."),
    "kitti": Preparation(12.6, ("cv2",)),
    "oxford_flowers102": Preparation(0.34, ("scipy",)),
    "oxford_iiit_pet": Preparation(0.8),
    "patch_camelyon": Preparation(8.0, ("h5py",)),
    "resisc45": Preparation(
        None,
        note="By hand: unpack NWPU-RESISC45.rar (https://gcheng-nwpu.github.io) to NWPU-RESISC45/CLASS/*.jpg in the "
        "folder of manual downloads.",
    ),
    "smallnorb": Preparation(0.26),
    "sun397": Preparation(
        39.0,
        ("cv2",),
        "The server vision.princeton.edu has not been reachable since 2025: use a copy that was prepared before.",
    ),
    "svhn_cropped": Preparation(1.6, ("scipy",)),
}
