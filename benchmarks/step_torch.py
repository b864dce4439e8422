"""The PyTorch side of `benchmarks.step`: reads cases and commands as JSON lines, answers seconds.

Runs under its own interpreter; imports nothing of this project.
"""

import json
import sys
import time

import torch

CHANNELS = (32, 64, 128, 256, 256, 64)


def sfcn(width):
    layers, inputs = [], 1
    for number, channels in enumerate(CHANNELS, 1):
        outputs = max(1, round(channels * width))
        side = 3 if number < len(CHANNELS) else 1
        layers.append(torch.nn.Conv3d(inputs, outputs, side, padding=side // 2))
        layers.append(torch.nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01))
        if number < len(CHANNELS):
            layers.append(torch.nn.MaxPool3d(2, ceil_mode=True))
        layers.append(torch.nn.ReLU())
        inputs = outputs
    return torch.nn.Sequential(
        *layers,
        torch.nn.AvgPool3d(2),
        torch.nn.Dropout(0.2),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(1),
    )


def block(number, inputs, shape, batch):
    """One block of `sfcn` at full width, trained on images that are there already."""
    layers = list(sfcn(1.0))
    first = sum(3 + (n < len(CHANNELS)) for n in range(1, number))
    pooled = number < len(CHANNELS)
    model = torch.nn.Sequential(*layers[first : first + 3 + pooled])
    model = model.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.SGD(model.parameters(), 1e-6)
    image = torch.randn(batch, inputs, *shape).contiguous(memory_format=torch.channels_last_3d)
    image.requires_grad_(number > 1)

    def train():
        optimiser.zero_grad()
        image.grad = None
        result = model(image)
        (result * torch.cos(result)).sum().backward()
        optimiser.step()

    return {"train": train}


def tasks(shape, width, batch, verification):
    layout = torch.channels_last_3d
    model = sfcn(width)
    model(torch.zeros(2, 1, *shape))
    model = model.to(memory_format=layout)
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, eps=1e-7)
    images = torch.randint(0, 256, (max(batch, verification), 1, *shape), dtype=torch.uint8)
    labels = (torch.arange(batch) % 2).float()

    def stored(count):
        return images[:count].float().contiguous(memory_format=layout)

    def train():
        model.train()
        optimiser.zero_grad()
        logits = model(stored(batch))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        optimiser.step()

    def verify():
        model.eval()
        with torch.inference_mode():
            model(stored(verification))

    return {"train": train, "verify": verify}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "case" in request:
            current = tasks(**request["case"])
            answer = {}
        elif "block" in request:
            current = block(**request["block"])
            answer = {}
        else:
            start = time.perf_counter()
            for _ in range(request["steps"]):
                current[request["task"]]()
            answer = {"seconds": (time.perf_counter() - start) / request["steps"]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
