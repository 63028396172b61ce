"""Program: prepares a data set of TensorFlow Datasets in ArrayRecord files, which are read without TensorFlow.

Downloads and prepares it, or converts a copy that is prepared in TFRecord files: the new files are beside the old ones,
and programs on tf.data go on reading these. Needs TensorFlow itself; copy the folder to machines without it.

Examples:
    python -m bit_keras.data prepare cifar10
    python -m bit_keras.data prepare imagenet2012 --data_dir=/data/tfds --manual_dir=/data/archives
"""

import os
from pathlib import Path

from absl import flags

from bit_keras.data.errors import DataError
from bit_keras.system import command_line
from bit_keras.system.checks import known_arguments
from bit_keras.system.files import whole
from bit_keras.system.logs import doing, logger, shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded


@known_arguments
@shows_messages
def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    manual_dir: str | os.PathLike | None = None,
    verbose: bool = True,
) -> Path:
    """Prepares a data set of TensorFlow Datasets in ArrayRecord files and returns their folder.

    An interrupted call resumes: downloads and converted files are kept.

    Args:
        name: "name", "name/config" or "name:version".
        data_dir, manual_dir: as in `bit_keras.data.load`.
        verbose: False shows only warnings.

    Raises:
        DataError: the data set does not exist, or cannot be downloaded or prepared.
        ImportError: TensorFlow or another package is not installed.
    """
    require(f"{name!r} of TensorFlow Datasets", "tensorflow_datasets", "array_record")
    from bit_keras.data.sources import tfds  # slow to import

    if "[" in name:
        raise DataError(f"NAME must be that of a data set, without a slice, got {name!r}")
    data_dir, manual_dir = (path and expanded(path) for path in (data_dir, manual_dir))
    builder = tfds.find(name, data_dir)
    if tfds.has_format(builder, tfds.ARRAY_RECORD):
        logger.info("%s is prepared already", builder.info.full_name)
        return Path(builder.data_dir)
    require(f"preparing {builder.info.full_name}", "tensorflow")  # with which TFDS encodes and reads records
    if tfds.is_prepared(builder):
        _convert(builder)
    else:
        tfds.download_and_prepare(tfds.find(name, data_dir, file_format=tfds.ARRAY_RECORD), manual_dir)
    return Path(builder.data_dir)


def _convert(builder) -> None:
    """Copies all records to ArrayRecord files beside those of a prepared data set.

    With the readers and writers of TensorFlow Datasets. Its own program for it, `tfds convert_format`, cannot be
    imported without Apache Beam.
    """
    from tensorflow_datasets.core import dataset_info, file_adapters

    info, array_record = builder.info, file_adapters.FileFormat.ARRAY_RECORD
    reader, writer = (file_adapters.ADAPTER_FOR_FORMAT[each] for each in (info.file_format, array_record))
    paths = {}
    for split in info.splits.values():
        template = split.filename_template.replace(filetype_suffix=array_record.file_suffix)
        targets = template.sharded_filepaths(num_shards=len(split.shard_lengths))
        paths |= dict(zip(map(Path, split.filepaths), map(Path, targets), strict=True))
    done = 0
    with doing(lambda: f"converting {info.full_name}: {done} of {len(paths)} files"):
        for source, target in paths.items():
            if not target.exists():  # else by an earlier call
                with whole(target) as temporary:
                    writer.write_examples(temporary, enumerate(reader.make_tf_data(source).as_numpy_iterator()))
            done += 1
    proto = info.as_proto
    proto.alternative_file_formats.append(array_record.value)
    with whole(Path(builder.data_dir, "dataset_info.json")) as temporary:
        temporary.write_text(dataset_info.get_dataset_info_json(proto))


def main(*arguments: str) -> None:
    if len(arguments) != 1:
        raise command_line.UsageError(f"one NAME must be given, got {' '.join(arguments) or 'nothing'}")
    values = flags.FLAGS
    folder = prepare(*arguments, data_dir=values.data_dir, manual_dir=values.manual_dir)
    print(f"prepared in {folder}; on other machines it is found below --data_dir by the same names")


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Folder of the data sets; TFDS's own default if not given.")
    flags.DEFINE_string("manual_dir", None, "Folder of archives that must be downloaded by hand.")
