"""dattri: TracIn, influence functions and TRAK on a small multilayer perceptron in PyTorch."""

import exchange
import torch
from dattri import task as tasks
from dattri.algorithm import influence_function, tracin, trak
from torch import nn
from torch.utils import data

EPOCHS, CHECKPOINTS, BATCH, RATE = 20, (2, 5, 10, 20), 16, 1e-3


def trained(cell):
    """The untrained module and its parameters after each epoch of CHECKPOINTS."""
    torch.manual_seed(int(cell["seed"]))
    model = nn.Sequential(nn.Linear(cell["x"].shape[1], 64), nn.ReLU(), nn.Linear(64, 2))
    optimiser, saved = torch.optim.Adam(model.parameters(), RATE), []
    for epoch in range(1, EPOCHS + 1):
        for image, label in data.DataLoader(samples(cell, "x", "y"), BATCH, shuffle=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(image), label).backward()
            optimiser.step()
        if epoch in CHECKPOINTS:
            saved.append({k: v.clone() for k, v in model.state_dict().items()})
    return model, saved


def samples(cell, x, y):
    return data.TensorDataset(
        torch.tensor(cell[x], dtype=torch.float32), torch.tensor(cell[y], dtype=torch.long)
    )


def loaders(cell):
    """Training and verification samples, each as one batch."""
    train = data.DataLoader(samples(cell, "x", "y"), len(cell["y"]), shuffle=False)
    return train, data.DataLoader(samples(cell, "vx", "vy"), len(cell["vy"]), shuffle=False)


def suspicion(effect):
    """Minus the mean effect [N, M] on the verification samples of every training sample."""
    return -effect.detach().mean(dim=1).numpy()


def loss_of(model):
    def loss(params, sample):
        image, label = sample
        outputs = torch.func.functional_call(model, params, image)
        return nn.functional.cross_entropy(outputs, label)

    return loss


def one_loss_of(model):
    def loss(params, sample):
        image, label = sample
        outputs = torch.func.functional_call(model, params, image.unsqueeze(0))
        return nn.functional.cross_entropy(outputs, label.unsqueeze(0))

    return loss


def trace_in(cell):
    model, saved = trained(cell)
    task = tasks.AttributionTask(one_loss_of(model), model, saved)
    attributor = tracin.TracInAttributor(
        task, weight_list=torch.ones(len(saved)) * RATE, normalized_grad=False
    )
    return suspicion(attributor.attribute(*loaders(cell)))


def influence(cell):
    model, saved = trained(cell)
    task = tasks.AttributionTask(loss_of(model), model, saved[-1])
    attributor = influence_function.IFAttributorCG(task, max_iter=10, regularization=0.1)
    train, held_out = loaders(cell)
    attributor.cache(train)
    return suspicion(attributor.attribute(train, held_out))


def random_projections(cell):
    model, saved = trained(cell)

    def margin(params, sample):
        probability = torch.exp(-one_loss_of(model)(params, sample))
        return torch.log(probability / (1 - probability + 1e-7))

    def correct(params, sample):
        return torch.exp(-one_loss_of(model)(params, sample))

    task = tasks.AttributionTask(margin, model, saved[-1])
    attributor = trak.TRAKAttributor(
        task,
        correct,
        projector_kwargs={"proj_dim": 256, "proj_max_batch_size": 16},
        regularization=1e-2,
    )
    train, held_out = loaders(cell)
    attributor.cache(train)
    return suspicion(attributor.attribute(held_out))


exchange.score_all(
    {"TracIn": trace_in, "influence function, CG": influence, "TRAK": random_projections}
)
