"""The V-JEPA training step in eager PyTorch, at the shapes of `bun run bench step`: what ours is compared with.

    python bench/torch_step.py --model vit_tiny --batch 2 --dtype float32 --steps 5

Context encoder and predictor run once a mask, the target encoder once, without gradients; L1 loss on layer-normed
targets; gradients of encoder and predictor clipped to norm 10 each; AdamW with decay on matrices only; moving average.
bfloat16 is autocast. Needs torch and nothing else; prints one line of JSON with the keys of `bench step --json`.
"""

import argparse
import copy
import json
import re
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

SIZES = {  # width, depth, heads
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
    "vit_huge": (1280, 32, 16),
}
FRAMES, CROP, TUBELET, PATCH = 16, 224, 2, 16
GRID = (FRAMES // TUBELET, CROP // PATCH, CROP // PATCH)
TOKENS = GRID[0] * GRID[1] * GRID[2]
MASKS = [(370, 755), (113, 1093)]  # context and target tokens
PREDICTOR_DIM, PREDICTOR_DEPTH = 384, 12


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, dim)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def table(dim):
    """Any fixed table does: only its size counts here."""
    return nn.Parameter(torch.sin(torch.arange(TOKENS * dim).float()).view(1, TOKENS, dim), requires_grad=False)


def gather(x, index):
    """Rows `index` [B, M] of x [B, N, D]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


class Encoder(nn.Module):
    def __init__(self, dim, depth, heads):
        super().__init__()
        self.patch_embed = nn.Conv3d(3, dim, (TUBELET, PATCH, PATCH), (TUBELET, PATCH, PATCH))
        self.pos_embed = table(dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, video, index=None):
        x = self.patch_embed(video).flatten(2).transpose(1, 2) + self.pos_embed
        if index is not None:
            x = gather(x, index)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.embed = nn.Linear(dim, PREDICTOR_DIM)
        self.mask_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, PREDICTOR_DIM)) for _ in MASKS)
        self.pos_embed = table(PREDICTOR_DIM)
        self.blocks = nn.ModuleList(Block(PREDICTOR_DIM, heads) for _ in range(PREDICTOR_DEPTH))
        self.norm = nn.LayerNorm(PREDICTOR_DIM, eps=1e-6)
        self.proj = nn.Linear(PREDICTOR_DIM, dim)

    def forward(self, z, context, target, mask):
        positions = self.pos_embed.expand(z.shape[0], -1, -1)
        z = self.embed(z) + gather(positions, context)
        queries = self.mask_tokens[mask] + gather(positions, target)
        x = torch.cat([z, queries], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.proj(self.norm(x)[:, context.shape[1] :])


def groups(modules):
    named = [p for m in modules for p in m.named_parameters() if p[1].requires_grad]
    decays = lambda name, p: p.ndim > 1 and "bias" not in name
    return [
        {"params": [p for n, p in named if decays(n, p)]},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]


def draw_masks(batch, generator):
    """Disjoint context and target positions of every clip, ascending."""
    masks = []
    for context, target in MASKS:
        order = torch.stack([torch.randperm(TOKENS, generator=generator) for _ in range(batch)])
        split = (order[:, :context], order[:, context : context + target])
        masks.append(tuple(part.sort(dim=1).values for part in split))
    return masks


def resident(name):
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        return int(found[1]) * 1024
    except (OSError, TypeError):
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="vit_tiny")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    idle = resident("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    dim, depth, heads = SIZES[options.model]
    encoder, predictor = Encoder(dim, depth, heads), Predictor(dim, heads)
    target_encoder = copy.deepcopy(encoder).requires_grad_(False)
    optimizer = torch.optim.AdamW(groups([encoder, predictor]), lr=6.25e-4, weight_decay=0.04)
    pixels = torch.randint(0, 256, (options.batch, 3, FRAMES, CROP, CROP), dtype=torch.uint8, generator=generator)
    masks = draw_masks(options.batch, generator)

    def step():
        video = pixels.float().div_(255).sub_(0.45).div_(0.225)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16"):
            with torch.no_grad():
                h = target_encoder(video).float()
                h = F.layer_norm(h, (dim,))
            loss = 0.0
            for i, (context, target) in enumerate(masks):
                z = predictor(encoder(video, context), context, target, i)
                loss = loss + (z - gather(h, target)).abs().mean() / len(masks)
        loss.backward()
        for module in (encoder, predictor):
            nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for t, p in zip(target_encoder.parameters(), encoder.parameters(), strict=True):
                if p.requires_grad:
                    t.mul_(0.998).add_(p, alpha=0.002)
        return loss.item()

    seconds = []
    for i in range(options.warmup + options.steps):
        start = time.perf_counter()
        step()
        if i >= options.warmup:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    report = {
        "median_s": median,
        "min_s": min(seconds),
        "samples_per_s": options.batch / median,
        "peak_rss_bytes": resident("VmHWM"),
        "idle_rss_bytes": idle,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
