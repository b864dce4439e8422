"""The PyTorch side of `benchmarks.counterfactual`: an MLP without one sample after another.

Runs under its own interpreter; imports nothing of this project. Reads a task (npz) and requests as
JSON lines, answers verification losses.
"""

import json
import sys

import numpy as np
import torch


def retrain(task, without, stops=None):
    """Verification loss after every cycle (of some stops), with weight 0 on one sample."""
    layers = [name.split(".")[0] for name in task if name.endswith(".kernel")]
    layers.sort(key=lambda name: (name == "head", name))
    params = [
        task[f"{layer}.{kind}"].clone().requires_grad_()
        for layer in layers
        for kind in ("kernel", "bias")
    ]

    def logits(x):
        for kernel, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
            x = torch.relu(torch.addmm(bias, x, kernel))
        return torch.addmm(params[-1], x, params[-2])[:, 0]

    optimiser = torch.optim.Adam(params, eps=1e-7, foreach=True)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    losses = []
    for rate, batches in zip(task["rate"], task["batches"], strict=True):
        optimiser.param_groups[0]["lr"] = float(rate)
        for ids, images, labels in batches[:stops]:
            weight = (ids != without).float() if without in ids else None
            optimiser.zero_grad()
            entropy(logits(images), labels, weight).backward()
            optimiser.step()
        with torch.inference_mode():
            losses.append(float(entropy(logits(task["held_out"]), task["held_out_label"])))
    return losses


def load(path):
    with np.load(path) as stored:
        task = {name: torch.from_numpy(stored[name]) for name in stored.files}
    number = len(task["image"])
    task["label"], task["held_out_label"] = task["label"].float(), task["held_out_label"].float()
    task["batches"] = []
    for visits in task["visits"]:
        kept = [ids[ids < number].long() for ids in visits]
        kept = [ids for ids in kept if len(ids)]
        task["batches"].append([(i, task["image"][i], task["label"][i]) for i in kept])
    return task


def main():
    task = load(sys.argv[1])
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        losses = [retrain(task, without, request["stops"]) for without in request["without"]]
        print(json.dumps({"losses": losses}), flush=True)


if __name__ == "__main__":
    main()
