"""Program: runs `bit_keras.finetune` and `bit_keras.evaluate` per line of JSON settings.

With --blocked TensorFlow cannot be imported. Prints one line of JSON per run. The setting "kill_at" raises an error
after that many steps; "evaluate" evaluates the weights; "num_test" leaves the first test examples only.
"""

import dataclasses
import json
import sys

_TENSORFLOW = ("tensorflow", "tensorflow_datasets", "tensorflow_hub", "tf_keras", "tensorboard")


def main() -> None:
    if "--blocked" in sys.argv:
        sys.modules.update(dict.fromkeys(_TENSORFLOW))  # None makes an import fail
    import keras
    import numpy as np
    import tiny  # noqa: F401  adds the variant

    import bit_keras
    from bit_keras import data, training
    from bit_keras.evaluate.evaluator import evaluate
    from bit_keras.finetune import FinetuneConfig

    class Killed(Exception):
        pass

    class Kill(keras.callbacks.Callback):
        def __init__(self, step: int):
            super().__init__()
            self.step = step

        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == self.step:
                raise Killed(f"after {self.step} steps")

    def one(settings: dict) -> dict:
        kill_at, evaluated = settings.pop("kill_at", None), settings.pop("evaluate", False)
        if num_test := settings.pop("num_test", None):
            source = data.load(settings["dataset"])
            settings["dataset"] = dataclasses.replace(source, test=source.test.take(np.arange(num_test)))
        stop = training.StopOnDivergence
        if kill_at:
            training.StopOnDivergence = lambda *arguments: Kill(kill_at)
        try:
            result = bit_keras.finetune(**settings)
        finally:
            training.StopOnDivergence = stop
        with open(result.workdir / "metrics.csv") as file:
            header, *rows = [line.rstrip().split(",") for line in file]
        if evaluated:
            weights = result.workdir / "weights.npz"
            evaluated = evaluate(weights, settings["dataset"], resolution=settings["resolution"]).metrics
        return {
            "test_accuracy": result.test_accuracy,
            "evaluated": evaluated and evaluated["top1_accuracy"],
            "losses": [float(row[header.index("loss")]) for row in rows],
            "tensorflow": sys.modules.get("tensorflow") is not None,
        }

    names = {field.name for field in dataclasses.fields(FinetuneConfig)} | {"kill_at", "evaluate", "num_test"}
    for line in sys.stdin:
        settings = json.loads(line)
        if unknown := set(settings) - names:
            raise ValueError(f"no such settings: {unknown}")
        try:
            result = one(settings)
        except (Killed, ImportError, ValueError) as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
