"""PyTorch in the style of its quickstart: nn.Module, DataLoader, one loop (one process)."""

import torch
from mnist import training_set
from record import Record, options
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def network(model: str) -> nn.Module:
    """The MLP or LeNet-5."""
    if model == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 100),
            nn.ReLU(),
            nn.Linear(100, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def main() -> None:
    """Train and print the record."""
    arguments, record = options(), Record()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = training_set(arguments.data)
    dataset = TensorDataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))
    loader = DataLoader(dataset, batch_size=arguments.batch, shuffle=True, drop_last=True)
    device = "cuda" if arguments.device == "gpu" else "cpu"
    model = network(arguments.model).to(device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = torch.tensor(0.0)
    for _ in range(arguments.epochs):
        record.begin_epoch()
        model.train()
        for x, y in loader:
            if device != "cpu":
                x, y = x.to(device), y.to(device)
            prediction = model(x)
            loss = loss_fn(prediction, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            record.first_step_done()
        if device != "cpu":
            torch.cuda.synchronize()
        record.end_epoch(len(loader))
    record.write(loss.item(), 1, sum(p.double().sum().item() for p in model.parameters()))


if __name__ == "__main__":
    main()
