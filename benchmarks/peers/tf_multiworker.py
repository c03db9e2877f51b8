"""TensorFlow's MultiWorkerMirroredStrategy with a custom loop, as its tutorials show it.

Each process is started by hand with ``TF_CONFIG``. ``model.fit`` does not work under this strategy
in Keras 3 (keras-team/keras issue 20585), a custom loop does. The data set repeats and the function
takes each batch from its iterator, as in the tutorial of custom loops with several workers: were it
to end with the epoch, the workers would agree at each step whether all still have a batch, and half
of the steps per second would be gone.
"""

import json
import os
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from mnist import training_set
from record import Record, options
from tf_quickstart import network


def main() -> None:
    """Train one worker; the first prints the record."""
    arguments, record = options(), Record()
    tf.keras.utils.set_random_seed(0)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    global_batch = arguments.batch * strategy.num_replicas_in_sync
    images, labels = training_set(arguments.data)
    dataset = (
        tf.data.Dataset.from_tensor_slices((images, labels))
        .shuffle(len(labels))
        .repeat()
        .batch(global_batch, drop_remainder=True)
    )
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = iter(strategy.experimental_distribute_dataset(dataset.with_options(sharding)))
    steps = len(labels) // global_batch
    with strategy.scope():
        model = network(arguments.model)
        optimizer = tf.keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_variables)
        loss_object = tf.keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )

    def step_fn(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        x, y = inputs
        with tf.GradientTape() as tape:
            predictions = model(x, training=True)
            loss = tf.nn.compute_average_loss(
                loss_object(y, predictions), global_batch_size=global_batch
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function
    def train_step(iterator: Iterator) -> tf.Tensor:
        losses = strategy.run(step_fn, args=(next(iterator),))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    @tf.function
    def rank_sum(value: tf.Tensor) -> tf.Tensor:
        return strategy.run(
            lambda x: tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(x)),
            args=(value,),
        )

    loss = tf.constant(0.0)
    for _ in range(arguments.epochs):
        rank_sum(tf.constant(0.0)).numpy()
        record.begin_epoch()
        for _ in range(steps):
            loss = train_step(batches)
            record.first_step_done()
        rank_sum(loss).numpy()
        record.end_epoch(steps)
    checksum = float(sum(weights.sum(dtype="float64") for weights in model.get_weights()))
    world_size = strategy.num_replicas_in_sync
    total = float(rank_sum(tf.constant(checksum, tf.float64)))
    assert abs(total - world_size * checksum) < 1e-9, "the workers' weights differ"
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0:
        record.write(float(loss), world_size, checksum)


if __name__ == "__main__":
    main()
