"""The PyTorch side of `benchmarks.step`: reads cases and commands as JSON lines, answers seconds.

Runs under its own interpreter; imports nothing of this project.
"""

import json
import os
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


def tasks(shape, width, batch, verification, dtype="float32", compiled=False, device="cpu"):
    if device == "any":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last_3d
    model = sfcn(width)
    model(torch.zeros(2, 1, *shape))
    model = model.to(device=device, memory_format=layout)
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, eps=1e-7)
    size = (max(batch, verification), 1, *shape)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    labels = (torch.arange(batch, device=device) % 2).float()
    called = torch.compile(model) if compiled else model
    mixed = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")

    def stored(count):
        return images[:count].float().contiguous(memory_format=layout)

    def train():
        model.train()
        optimiser.zero_grad()
        with mixed:
            logits = called(stored(batch))[:, 0].float()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        optimiser.step()

    def verify():
        model.eval()
        with torch.inference_mode(), mixed:
            called(stored(verification))

    return {"train": train, "verify": verify}


def timed(task, steps):
    """Seconds of a step, and the device."""
    on_gpu = torch.cuda.is_available()
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        task()
    wait()
    seconds = (time.perf_counter() - start) / steps
    return {"seconds": seconds, "on": torch.cuda.get_device_name() if on_gpu else "cpu"}


def main():
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a compiler's output is no answer
    torch.set_num_threads(int(sys.argv[1]))
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    print(json.dumps({"version": torch.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "case" in request:
                current, answer = tasks(**request["case"]), {}
            elif "block" in request:
                current, answer = block(**request["block"]), {}
            else:
                answer = timed(current[request["task"]], request["steps"])
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
