"""dattri: TracIn, influence functions and TRAK on a small multilayer perceptron in PyTorch."""

import exchange
import torch
from dattri import task as tasks
from dattri.algorithm import influence_function, tracin, trak
from torch import nn
from torch.utils import data

EPOCHS, CHECKPOINTS, BATCH, RATE = 20, (2, 5, 10, 20), 16, 1e-3
ENSEMBLE, ITERATIONS = 5, 10  # TRAK's models; conjugate gradients


def trained(cell, replica=0):
    """The module and its parameters after each epoch of CHECKPOINTS."""
    torch.manual_seed(1000 * replica + int(cell["seed"]))
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


def tracer(cell):
    model, saved = trained(cell)
    task = tasks.AttributionTask(one_loss_of(model), model, saved)
    return tracin.TracInAttributor(
        task, weight_list=torch.ones(len(saved)) * RATE, normalized_grad=False
    )


def trace_in(cell):
    return suspicion(tracer(cell).attribute(*loaders(cell)))


def self_influence(cell):
    train, _ = loaders(cell)
    return tracer(cell).self_attribute(train).detach().numpy()


def influence(cell):
    model, saved = trained(cell)
    task = tasks.AttributionTask(loss_of(model), model, saved[-1])
    attributor = influence_function.IFAttributorCG(task, max_iter=ITERATIONS, regularization=0.1)
    train, held_out = loaders(cell)
    attributor.cache(train)
    return suspicion(attributor.attribute(train, held_out))


def random_projections(cell):
    models = [trained(cell, replica) for replica in range(ENSEMBLE)]
    model = models[0][0]

    def margin(params, sample):
        probability = torch.exp(-one_loss_of(model)(params, sample))
        return torch.log(probability / (1 - probability + 1e-7))

    def correct(params, sample):
        return torch.exp(-one_loss_of(model)(params, sample))

    task = tasks.AttributionTask(margin, model, [saved[-1] for _, saved in models])
    attributor = trak.TRAKAttributor(
        task,
        correct,
        projector_kwargs={"proj_dim": 512, "proj_max_batch_size": 16},
        regularization=1e-2,
    )
    train, held_out = loaders(cell)
    attributor.cache(train)
    return suspicion(attributor.attribute(held_out))


def sizes(cell):
    return len(cell["y"]), len(cell["vy"])


def passes_trace_in(cell):
    n, m = sizes(cell)
    return {"gradient": EPOCHS * n + len(CHECKPOINTS) * (n + m)}


def passes_self_influence(cell):
    n, _ = sizes(cell)
    return {"gradient": (EPOCHS + len(CHECKPOINTS)) * n}


def passes_influence(cell):
    """A product with the Hessian, one for every held-out sample and iteration, is two gradients."""
    n, m = sizes(cell)
    return {"gradient": EPOCHS * n + n + m + 2 * ITERATIONS * m * n}


def passes_random_projections(cell):
    n, m = sizes(cell)
    return {"gradient": ENSEMBLE * (EPOCHS * n + n + m), "forward": ENSEMBLE * n}


exchange.score_all(
    {
        "TracIn": trace_in,
        "TracIn, self-influence": self_influence,
        "influence function, CG": influence,
        "TRAK": random_projections,
    },
    passes={
        "TracIn": passes_trace_in,
        "TracIn, self-influence": passes_self_influence,
        "influence function, CG": passes_influence,
        "TRAK": passes_random_projections,
    },
    blind=("TracIn, self-influence",),
)
