"""Environment variables that describe the processes that train together."""

import json
import os

_JAX_PROCESSES = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))


def read_tf_config() -> tuple[list[str], bool]:
    """Reads TF_CONFIG, which lists the workers of tf.distribute.

    Returns:
        (addresses of all workers, whether this one is the chief).

    Raises:
        ValueError: it is missing or malformed.
    """
    text = os.environ.get("TF_CONFIG")
    example = (
        """'{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}' """
        "with a different index on each machine"
    )
    if not text:
        raise ValueError(f"distribute='multi_worker' needs the environment variable TF_CONFIG, for example {example}")
    try:
        config = json.loads(text)
        cluster, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        addresses = [*cluster.get("chief", []), *cluster["worker"]]
        if kind not in ("chief", "worker") or index < 0 or set(cluster) - {"chief", "worker"} or len(addresses) < 2:
            raise ValueError("two workers or more, of the types chief and worker, are allowed")
        _ = cluster[kind][index]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG must look like {example}; got {text} ({error})") from error
    return addresses, kind == "chief" or (index == 0 and not cluster.get("chief"))


def read_jax_processes() -> int | None:
    """Reads the number of processes on the jax backend from the environment.

    Returns:
        The number; None if the variables are not set: a single process with all of its devices.

    Raises:
        ValueError: a variable is missing or malformed.
    """
    given = [name for name in _JAX_PROCESSES if name in os.environ]
    if not given:
        return None
    missing = [name for name in _JAX_PROCESSES if name not in given]
    if missing:
        raise ValueError(f"{', '.join(_JAX_PROCESSES)} go together, got {', '.join(given)} without {missing[0]}")
    addresses, number, index = (os.environ[name] for name in _JAX_PROCESSES)
    if not (number.isdecimal() and index.isdecimal() and int(index) < int(number) and ":" in addresses):
        raise ValueError(
            f"{_JAX_PROCESSES[0]} must be the address of the first process with its port, {_JAX_PROCESSES[1]} the "
            f"number of processes, {_JAX_PROCESSES[2]} an index from 0 to that number - 1; "
            f"got {addresses!r}, {number!r} and {index!r}"
        )
    return int(number)
