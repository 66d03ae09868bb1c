"""Steps of training in PyTorch, on the CPU: the models of bench/cases/training.ts. Commands come as lines of JSON, answers go the same way."""

import json
import math
import sys

import numpy
import torch
import torch.nn.functional as F


def read(folder, index, shape, dtype):
    kind = {"f32": numpy.float32, "i32": numpy.int32}[dtype]
    values = numpy.fromfile(f"{folder}/{index}.bin", kind).reshape(shape)
    return torch.from_numpy(values.copy())


def norm(p, path, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{path}.weight"], p[f"{path}.bias"], 1e-5)


def normed_linear(p, path, x):
    return F.linear(norm(p, f"{path}.0", x), p[f"{path}.1.weight"])


def mean_square(y, target):
    return 0.5 * ((y - target) ** 2).mean()


def sva(p, x, plain):
    side, width, heads = plain["side"], plain["width"], plain["heads"]
    regions = []
    for k, h in enumerate(plain["sides"]):
        r = h // side
        regions.append(x[f"map_{k}"].reshape(1, side, r, side, r, width).permute(0, 1, 3, 2, 4, 5).reshape(1, side * side, r * r, width))
    query = x["query"]
    for i in range(plain["depth"]):
        at = f"layers.{i}"
        seen = F.linear(x["context"], p[f"{at}.proj_context.weight"])[:, None].expand(-1, side * side, -1)
        mixed = F.linear(torch.cat([query, seen], -1), p[f"{at}.proj_in.weight"])
        placed = [r + p[f"{at}.pos_embed_{k}"] if r.shape[2] > 1 else r for k, r in enumerate(regions)]
        key = torch.cat([normed_linear(p, f"{at}.cross_attn.k_proj_{k}", r) for k, r in enumerate(placed)], 2)
        value = torch.cat([normed_linear(p, f"{at}.cross_attn.v_proj_{k}", r) for k, r in enumerate(placed)], 2)
        q = normed_linear(p, f"{at}.cross_attn.q_proj", mixed)
        split = lambda y: y.reshape(*y.shape[:-1], heads, width // heads)
        q, key, value = split(q)[:, :, :, None], split(key).transpose(2, 3), split(value).transpose(2, 3)
        read_ = F.scaled_dot_product_attention(q, key, value).reshape(1, side * side, width)
        y = norm(p, f"{at}.norm", mixed + F.linear(read_, p[f"{at}.cross_attn.o_proj.weight"]))
        y = F.linear(F.gelu(F.linear(y, p[f"{at}.proj_out.linear_1.weight"])), p[f"{at}.proj_out.linear_2.weight"])
        query = query + y
    return mean_square(query, x["target"])


def rms(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def decoder(p, x, plain):
    tokens, width, hidden, heads, eps = (plain[k] for k in ("tokens", "width", "hidden", "heads", "eps"))
    d = width // heads
    at = "layers.0"
    h = x["x"][0]
    qkv = F.linear(rms(h, p[f"{at}.input_layernorm.weight"], eps), p[f"{at}.self_attn.qkv_proj.weight"])
    q, k, v = (y.reshape(tokens, heads, d).transpose(0, 1) for y in qkv.split(width, -1))
    cos, sin = x["cos"][0], x["sin"][0]

    def rotate(y):
        one, two = y[..., : d // 2], y[..., d // 2 :]
        return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)

    read_ = F.scaled_dot_product_attention(rotate(q)[None], rotate(k)[None], v[None], is_causal=True)[0]
    h = h + F.linear(read_.transpose(0, 1).reshape(tokens, width), p[f"{at}.self_attn.o_proj.weight"])
    wide = F.linear(rms(h, p[f"{at}.post_attention_layernorm.weight"], eps), p[f"{at}.mlp.gate_up_proj.weight"])
    gate, up = wide[:, :hidden], wide[:, hidden:]
    h = h + F.linear(F.silu(gate) * up, p[f"{at}.mlp.down_proj.weight"])
    return mean_square(h, x["target"][0])


def gpt(p, x, plain):
    tokens, width, heads = plain["tokens"], plain["width"], plain["heads"]
    h = p["wte.weight"][x["ids"].long()] + p["wpe.weight"]
    linear = lambda path, y: F.linear(y, p[f"{path}.weight"], p[f"{path}.bias"])
    for i in range(plain["layers"]):
        at = f"h.{i}"
        qkv = linear(f"{at}.attn.c_attn", norm(p, f"{at}.ln_1", h))
        q, k, v = (y.reshape(tokens, heads, width // heads).transpose(0, 1) for y in qkv.split(width, -1))
        read_ = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        h = h + linear(f"{at}.attn.c_proj", read_.transpose(0, 1).reshape(tokens, width))
        inner = F.gelu(linear(f"{at}.mlp.c_fc", norm(p, f"{at}.ln_2", h)), approximate="tanh")
        h = h + linear(f"{at}.mlp.c_proj", inner)
    return F.cross_entropy(F.linear(norm(p, "ln_f", h), p["wte.weight"]), x["labels"].long())


losses = {"svaStep": sva, "decoderStep": decoder, "gptStep": gpt}


class Step:
    def __init__(self, job):
        folder = job["folder"]
        self.parameters = {
            one["path"]: read(folder, f"p{i}", one["shape"], "f32").requires_grad_() for i, one in enumerate(job["learned"])
        }
        self.inputs = {one["name"]: read(folder, f"x{i}", one["shape"], one["dtype"]) for i, one in enumerate(job["inputs"])}
        self.plain = job["plain"]
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=job["rate"], weight_decay=0)

    def run(self):
        self.optimizer.zero_grad()
        losses[self.plain["op"]](self.parameters, self.inputs, self.plain).backward()
        squares = torch.stack([(p.grad * p.grad).sum() for p in self.parameters.values()])
        # As a step of training has it: no update where a gradient is not finite.
        if math.isfinite(float(squares.sum())):
            self.optimizer.step()
        return squares


def main():
    step = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {}
            if command["kind"] == "open":
                answer = {"version": torch.__version__, "threads": torch.get_num_threads()}
            elif command["kind"] == "prepare":
                step = Step(command)
            elif command["kind"] == "run":
                step.run()
            elif command["kind"] == "outputs":
                answer = {"squares": step.run().tolist()}
            elif command["kind"] == "drop":
                step = None
        except Exception as error:  # The race has a line for it.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
