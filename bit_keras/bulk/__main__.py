"""Program: name what many photos show, or compute their features, on a Ray cluster.

Images are image files, TFRecord files, folders and patterns of them, or CSV files of addresses; on local disks, in
buckets (gs://, s3://), or wherever else fsspec opens them. What cannot be read is a row with the reason. The output is
a folder of Parquet or TFRecord files. A job that was interrupted resumes when it is started again with the same
settings.

Standard output is two lines at the end: what was done, and where the rows are.

Example:
    bit-bulk --model=runs/birds --input='gs://bucket/photos/**' --output=gs://bucket/rows --address=auto
    bit-bulk --model=runs/birds --input=photos --input=more.csv --output=rows --what=both
"""

from absl import flags

from bit_keras.inference.flags import define_model_flags
from bit_keras.system import command_line
from bit_keras.system.optional import require

_GROUPS = {
    "model": ("model", "class_names", "resolution", "precision"),
    "images": ("input", "loader"),
    "results": ("output", "what", "top", "format", "part_size"),
    "cluster": ("address", "workers", "readers", "cpus", "gpus", "batch_size"),
}


def _define_flags() -> None:
    define_model_flags()
    flags.DEFINE_multi_string(
        "input",
        None,
        "Image, TFRecord or CSV file, folder, or pattern with * in a folder and ** over folders, on any file system.",
        required=True,
    )
    flags.DEFINE_string("output", None, "Folder to write, on any file system.", required=True)
    flags.DEFINE_enum("what", "predictions", ("predictions", "features", "both"), "What to compute.")
    flags.DEFINE_integer("top", 5, "Most likely classes per image.", lower_bound=1)
    flags.DEFINE_enum("format", "parquet", ("parquet", "tfrecord"), "Format of the output.")
    flags.DEFINE_integer("part_size", 1024, "Images per file of the output.", lower_bound=1)
    flags.DEFINE_string(
        "address",
        None,
        "Address of the Ray cluster that this machine belongs to, auto or host:port; if not given, RAY_ADDRESS, or a "
        "cluster of this machine alone, for the time of the job.",
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that hold the network; if not given, one per GPU, or one per two CPUs.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "readers",
        None,
        "Processes that read and decode images; if not given, one per CPU that the workers leave.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "cpus", 1, "CPUs of each worker; on tensorflow and torch, the threads of its network.", lower_bound=0.01
    )
    flags.DEFINE_float("gpus", None, "GPUs of each worker; if not given, 1 where the cluster has any.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "Images per batch.", lower_bound=1)


def main() -> None:
    require("bit-bulk", "ray", "pyarrow", "fsspec")
    from bit_keras.bulk import job

    values = flags.FLAGS
    if values.format == "tfrecord":
        require("the format tfrecord", "tensorflow")
    others = {name for names in _GROUPS.values() for name in names} - {"input", "format"}
    job.run(inputs=values.input, file_format=values.format, **{name: values[name].value for name in others})


def run() -> None:
    """Entry point of the console script `bit-bulk`."""
    _define_flags()
    command_line.run(main, _GROUPS, interrupted="the same command resumes")


if __name__ == "__main__":
    run()
