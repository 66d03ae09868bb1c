"""`python make.py` writes peft-llama.safetensors: a tiny Llama, PEFT's adapter of it as `save_pretrained` writes it (`adapter.*`), and the
logits of both together. `modules` of the metadata is what PEFT made of its config: of every adapted module its rank and alpha.

torch (CPU, f32), transformers and peft of the versions in the metadata.
"""
import json
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

torch.manual_seed(28)
config = transformers.LlamaConfig(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.25, tie_word_embeddings=False,
)
base = transformers.LlamaForCausalLM(config).eval()
ids = torch.randint(0, config.vocab_size, (1, 11))
weights = {name: value.detach().clone() for name, value in base.state_dict().items()}
with torch.no_grad():
    without = base(ids).logits
    model = peft.get_peft_model(base, peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=6, rank_pattern={"o_proj": 2, "layers.1.mlp.down_proj": 3},
        alpha_pattern={"o_proj": 5, "layers.1.mlp.down_proj": 3},
        target_modules=r".*\.(q_proj|v_proj|o_proj)|.*\.layers\.1\.mlp\.down_proj",
    )).eval()
    modules = {}
    for name, module in model.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            # What it learned: PEFT's own B is zero.
            module.lora_A["default"].weight.normal_(0, 0.5)
            module.lora_B["default"].weight.normal_(0, 0.5)
            rank = module.r["default"]
            modules[name.removeprefix("base_model.model.")] = [rank, module.scaling["default"] * rank]
    logits = model(ids).logits
assert (logits - without).abs().max() > 1
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    adapter = load_file(f"{folder}/adapter_model.safetensors")
    saved = json.load(open(f"{folder}/adapter_config.json"))
tensors = {**weights, **{f"adapter.{name}": value for name, value in adapter.items()}, "input.input_ids": ids, "output.prefill_logits": logits}
versions = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}, cpu f32, eager"
save_file({name: value.contiguous() for name, value in tensors.items()}, "peft-llama.safetensors", {
    "kind": "llama", "name": "peft-llama", "reference": versions, "config": json.dumps(config.to_dict()),
    "adapter_config": json.dumps(saved), "modules": json.dumps(modules),
})
