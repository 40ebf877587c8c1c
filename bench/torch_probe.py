"""An attentive probe in PyTorch on tokens that `bun run eval` has kept: what its accuracy is compared with.

    python bench/torch_probe.py EVALUATION --seeds 3

EVALUATION is the folder of a finished video or audio classification with one point in the grid (`probe.lr`,
`probe.weight_decay` and `probe.depth` of one value, depth 1) and tokens of its own. Its config.yaml, result.json and token
shards are read, and a probe of the same size is trained on the same tokens by the same schedule: one query's
cross-attention, an MLP, a linear layer; AdamW without decay of biases and norms; gradients clipped to norm 1; a cosine to 0
of the learning rate and to 1e-6 of the decay. Orders and initial values are PyTorch's. Needs torch and pyyaml.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn import functional as F


class Probe(nn.Module):
    def __init__(self, dim, heads, classes, projection):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, 1, dim), std=0.02))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim) if projection == "applied" else nn.Identity()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        for module in (self.q, self.kv, self.proj, self.fc1, self.fc2):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            for module in (self.proj, self.fc2):
                if isinstance(module, nn.Linear):
                    module.weight /= math.sqrt(2)
        self.head = nn.Linear(dim, classes)

    def forward(self, x, mask):
        """x [B, N, D], mask [B, N]: true where there is a token."""
        b, n, d = x.shape
        query = self.query.expand(b, -1, -1)
        k, v = self.kv(self.norm1(x)).reshape(b, n, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q = self.q(query).reshape(b, 1, self.heads, d // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        query = query + self.proj(y.transpose(1, 2).reshape(b, 1, d))
        query = query + self.fc2(F.gelu(self.fc1(self.norm2(query))))
        return self.head(query[:, 0])


TYPES = {"F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16, "U16": torch.bfloat16}


def load_file(path):
    """The tensors of a safetensors file; bfloat16 may stand there as its bits."""
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        dtype = TYPES[entry["dtype"]]
        flat = torch.frombuffer(data[start:end], dtype=dtype) if end > start else torch.zeros(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def read_tokens(folder, name):
    """Lists of sequences [N, D], by line of the index."""
    samples = {}
    for path in sorted(folder.glob("*.safetensors")):
        shard = load_file(path)
        parts = shard[f"{name}.tokens"].float().split(shard[f"{name}.lengths"].tolist())
        at = 0
        for line, count in zip(shard["indices"].tolist(), shard[f"{name}.sequences"].tolist()):
            if count:
                samples[line] = list(parts[at : at + count])
            at += count
    return samples


def batch_of(sequences):
    longest = max(len(s) for s in sequences)
    x = torch.zeros(len(sequences), longest, sequences[0].shape[1])
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for i, s in enumerate(sequences):
        x[i, : len(s)], mask[i, : len(s)] = s, True
    return x, mask


def labels_of(index):
    return [int(line.rsplit(maxsplit=1)[1]) for line in Path(index).read_text().splitlines() if line.strip()]


def train_and_test(config, result, train, train_labels, val, val_labels, seed):
    torch.manual_seed(seed)
    o, told = config["optimization"], result["probe"]
    dim = next(iter(train.values()))[0].shape[1]
    probe = Probe(dim, told["num_heads"], config["data"]["num_classes"], told["projection"])
    matrices = [p for p in probe.parameters() if p.ndim > 1]
    vectors = [p for p in probe.parameters() if p.ndim <= 1]
    adamw = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
    lines = torch.tensor(list(train))
    per_epoch = math.ceil(len(lines) / o["batch_size"])
    steps = per_epoch * o["num_epochs"]
    for step in range(1, steps + 1):
        if (step - 1) % per_epoch == 0:
            order = lines[torch.randperm(len(lines))].tolist()
        at = (step - 1) % per_epoch * o["batch_size"]
        chosen = order[at : at + o["batch_size"]]
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in adamw.param_groups:
            group["lr"] = told["lr"] * cosine
        adamw.param_groups[0]["weight_decay"] = 1e-6 + (told["weight_decay"] - 1e-6) * cosine
        sequences = [s for line in chosen for s in train[line]]
        target = torch.tensor([train_labels[line] for line in chosen for _ in train[line]])
        loss = F.cross_entropy(probe(*batch_of(sequences)), target)
        adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        adamw.step()
    right = 0
    with torch.no_grad():
        for line, sequences in val.items():
            right += probe(*batch_of(sequences)).softmax(-1).mean(0).argmax().item() == val_labels[line]
    return 100 * right / len(val)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    config = yaml.safe_load((args.evaluation / "config.yaml").read_text())
    result = json.loads((args.evaluation / "result.json").read_text())
    if len(result["grid"]) != 1 or result["probe"]["depth"] != 1:
        parser.error("the grid must be of one point, of depth 1")
    data = config["data"]
    train_labels, val_labels = labels_of(data["dataset_train"]), labels_of(data["dataset_val"])
    root = Path(config["cache"]["folder"] or args.evaluation / "tokens")
    caches = [path.parent for path in root.glob("*/cache.json")]
    if len(caches) != 2:
        parser.error(f"{root} has {len(caches)} sets of tokens, not those of one training and one test set")
    sets = [read_tokens(folder, "clips") for folder in caches]
    sizes = [result["num_train_samples"], result["num_samples"]]
    if sizes[0] == sizes[1] or sorted(map(len, sets)) != sorted(sizes):
        parser.error(f"{root} has sets of {list(map(len, sets))} samples; which is which of {sizes} cannot be told")
    train, val = sets if len(sets[0]) == sizes[0] else sets[::-1]
    found = [
        train_and_test(config, result, train, train_labels, val, val_labels, seed) for seed in range(args.seeds)
    ]
    print(json.dumps({"ours": result["top1"], "torch": found, "torch_mean": sum(found) / len(found)}))


if __name__ == "__main__":
    main()
