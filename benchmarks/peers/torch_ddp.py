"""PyTorch DistributedDataParallel under torchrun, as its tutorial shows it (gloo, CPU).

``torchrun --standalone --nproc_per_node=2 benchmarks/peers/torch_ddp.py --model mlp --batch 32``
"""

import os

import torch
import torch.distributed as dist
from mnist import training_set
from record import Record, options
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torch_quickstart import network


def main() -> None:
    """Train one rank; rank 0 prints the record."""
    arguments, record = options(), Record()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    images, labels = training_set(arguments.data)
    dataset = TensorDataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))
    sampler = DistributedSampler(dataset, drop_last=True)
    loader = DataLoader(dataset, batch_size=arguments.batch, sampler=sampler, drop_last=True)
    model = DistributedDataParallel(network(arguments.model))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = torch.tensor(0.0)
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        dist.barrier()
        record.begin_epoch()
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            record.first_step_done()
        dist.barrier()
        record.end_epoch(len(loader))
    checksum = sum(p.double().sum().item() for p in model.parameters())
    checksums = [None] * dist.get_world_size()
    dist.all_gather_object(checksums, checksum)
    assert len(set(checksums)) == 1, f"the ranks' weights differ: {checksums}"
    if dist.get_rank() == 0:
        record.write(loss.item(), dist.get_world_size(), checksum)
    dist.barrier()
    dist.destroy_process_group()
    # Some of gloo's threads outlive the group, and may abort the interpreter while it ends.
    os._exit(0)


if __name__ == "__main__":
    main()
