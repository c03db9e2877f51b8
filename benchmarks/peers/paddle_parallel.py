"""Paddle's DataParallel under paddle.distributed.launch, as its guide shows it (gloo, CPU).

``python -m paddle.distributed.launch --nproc_per_node=2 benchmarks/peers/paddle_parallel.py``
(without GPUs the launcher chooses gloo).
"""

import numpy as np
import paddle
import paddle.distributed as dist
from mnist import training_set
from paddle import nn
from paddle_quickstart import Images, network
from record import Record, options


def main() -> None:
    """Train one rank; rank 0 prints the record."""
    arguments, record = options(), Record()
    paddle.seed(0)
    paddle.set_device("cpu")
    dist.init_parallel_env()
    images, labels = training_set(arguments.data)
    dataset = Images(images[:, np.newaxis], labels)
    sampler = paddle.io.DistributedBatchSampler(
        dataset, batch_size=arguments.batch, shuffle=True, drop_last=True
    )
    loader = paddle.io.DataLoader(dataset, batch_sampler=sampler)
    model = paddle.DataParallel(network(arguments.model))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = paddle.optimizer.Adam(learning_rate=1e-3, parameters=model.parameters())
    loss = paddle.to_tensor(0.0)
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        dist.barrier()
        record.begin_epoch()
        model.train()
        for x, y in loader():
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            record.first_step_done()
        dist.barrier()
        record.end_epoch(len(loader))
    checksum = sum(float(p.astype("float64").sum()) for p in model.parameters())
    gathered: list = []
    dist.all_gather(gathered, paddle.to_tensor([checksum], "float64"))
    checksums = {other.item() for other in gathered}
    assert len(checksums) == 1, f"the ranks' weights differ: {checksums}"
    if dist.get_rank() == 0:
        record.write(float(loss), dist.get_world_size(), checksum)


if __name__ == "__main__":
    main()
