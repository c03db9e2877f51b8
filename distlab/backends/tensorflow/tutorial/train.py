"""LeNet-5 on MNIST by MultiWorkerMirroredStrategy, in the style of TensorFlow's own tutorials.

A custom loop, because Keras 3's model.fit doesn't work under this strategy
(keras-team/keras#20585). Each worker has its place in TF_CONFIG:

TF_CONFIG='{"cluster": {"worker": ["host1:4000", "host2:4000"]},
            "task": {"type": "worker", "index": 0}}' python train.py mnist.npz
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
mnist = np.load(sys.argv[1])
x_train = mnist["x_train"][..., np.newaxis].astype(np.float32) / 255
x_test = mnist["x_test"][..., np.newaxis].astype(np.float32) / 255
y_train, y_test = mnist["y_train"].astype(np.int64), mnist["y_test"].astype(np.int64)
global_batch = 64 * strategy.num_replicas_in_sync
steps = len(x_train) // global_batch
dataset = tf.data.Dataset.from_tensor_slices((x_train, y_train))
dataset = dataset.shuffle(len(x_train)).repeat().batch(global_batch, drop_remainder=True)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
batches = iter(strategy.experimental_distribute_dataset(dataset.with_options(options)))

with strategy.scope():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((28, 28, 1)),
            tf.keras.layers.Conv2D(6, 5, padding="same", activation="relu"),
            tf.keras.layers.MaxPooling2D(),
            tf.keras.layers.Conv2D(16, 5, activation="relu"),
            tf.keras.layers.MaxPooling2D(),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(120, activation="relu"),
            tf.keras.layers.Dense(84, activation="relu"),
            tf.keras.layers.Dense(10),
        ]
    )
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")


def step_fn(inputs):
    x, y = inputs
    with tf.GradientTape() as tape:
        losses = loss_object(y, model(x, training=True))
        loss = tf.nn.compute_average_loss(losses, global_batch_size=global_batch)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss


@tf.function
def train_step(iterator):
    losses = strategy.run(step_fn, args=(next(iterator),))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)


@tf.function
def predict(x):
    return model(x, training=False)


for epoch in range(3):
    for _ in range(steps):
        loss = train_step(batches)
    correct = 0
    for start in range(0, len(x_test), 100):
        predictions = predict(x_test[start : start + 100]).numpy().argmax(axis=1)
        correct += (predictions == y_test[start : start + 100]).sum()
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0:
        print(f"epoch {epoch + 1}: test accuracy {correct / len(x_test):.4f}")
