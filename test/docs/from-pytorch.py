"""Runs the Python blocks of docs/from-pytorch.md and writes what they give: python test/docs/from-pytorch.py. Needs torch; no test does."""
import json, math, os, re
import torch
import torch.nn.functional as F

root = os.path.join(os.path.dirname(__file__), '../..')
def waves(shape, a, b):
    return torch.tensor([math.sin(a * i + b) for i in range(math.prod(shape))], dtype=torch.float32).view(*shape)

shapes = {'fc.weight': (12, 8), 'fc.bias': (12,), 'back.weight': (8, 12), 'back.bias': (8,), 'norm.weight': (8,), 'norm.bias': (8,),
          'group.weight': (4,), 'group.bias': (4,), 'conv.weight': (5, 4, 3, 3), 'conv.bias': (5,), 'table': (10, 8),
          'attn.in_proj_weight': (24, 8), 'attn.in_proj_bias': (24,), 'attn.out_proj.weight': (8, 8), 'attn.out_proj.bias': (8,),
          'bn.weight': (4,), 'bn.bias': (4,), 'bn.running_mean': (4,), 'bn.running_var': (4,)}
sd = {name: waves(shape, 0.7, k) for k, (name, shape) in enumerate(shapes.items())}
sd['bn.running_var'] += 2
page = open(os.path.join(root, 'docs/from-pytorch.md')).read()
out = {}
for title, body in re.findall(r'^## (.*)\n([\s\S]*?)(?=^## |\Z)', page, re.M):
    block = re.search(r'```python\n([\s\S]*?)```', body).group(1).strip().split('\n')
    names = {'torch': torch, 'F': F, 'sd': sd, 'table': sd['table'], 'x': waves((1, 6, 8), 0.3, 0), 'y': waves((1, 6, 8), 0.5, 1),
             'keys': waves((1, 5, 8), 0.9, 2), 'image': waves((1, 4, 8, 8), 0.2, 3),
             'mask': torch.tensor([[True, False, False, True, True, False]]), 'ids': torch.tensor([[3, 0, 7]])}
    exec('\n'.join(block[:-1]), names)
    y = eval(block[-1], names)
    out[title] = {'shape': list(y.shape), 'values': [round(v, 7) for v in y.double().reshape(-1).tolist()]}
json.dump(out, open(os.path.join(root, 'test/golden/from-pytorch.json'), 'w'))
