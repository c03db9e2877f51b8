"""TensorFlow in the style of its quickstart: a Keras model, ``compile`` and ``fit`` (one process).

The quickstart also counts the training accuracy in each step (``metrics=["accuracy"]``). It is left
out, because the other peers and distlab don't: the comparison is of the same work.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from mnist import training_set
from record import Record, options


def network(model: str) -> tf.keras.Model:
    """The MLP or LeNet-5."""
    layers = tf.keras.layers
    if model == "mlp":
        return tf.keras.Sequential(
            [
                tf.keras.Input((28, 28)),
                layers.Flatten(),
                layers.Dense(100, activation="relu"),
                layers.Dense(100, activation="relu"),
                layers.Dense(10),
            ]
        )
    return tf.keras.Sequential(
        [
            tf.keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )


class EpochTimes(tf.keras.callbacks.Callback):
    """Times epochs; hooks of single batches would slow ``fit`` down."""

    def __init__(self, record: Record, steps: int) -> None:
        super().__init__()
        self.record, self.steps = record, steps

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.record.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock; the loss in ``logs`` has been read back by now."""
        self.record.end_epoch(self.steps)


def main() -> None:
    """Train and print the record."""
    arguments, record = options(), Record()
    tf.keras.utils.set_random_seed(0)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if arguments.device == "cpu":  # else Keras takes the GPU by itself
        tf.config.set_visible_devices([], "GPU")
    images, labels = training_set(arguments.data)
    steps = len(labels) // arguments.batch
    images, labels = images[: steps * arguments.batch], labels[: steps * arguments.batch]
    model = network(arguments.model)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(1e-3),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(
        images,
        labels,
        batch_size=arguments.batch,
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[EpochTimes(record, steps)],
    )
    checksum = float(sum(weights.sum(dtype="float64") for weights in model.get_weights()))
    record.write(history.history["loss"][-1], 1, checksum)


if __name__ == "__main__":
    main()
