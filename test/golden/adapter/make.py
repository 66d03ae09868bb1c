"""`python make.py` writes peft-llama.safetensors: a tiny Llama, PEFT's adapter of it as `save_pretrained` writes it (`adapter.*`), and the
logits of both together. `modules` of the metadata is what PEFT made of its config: of every adapted module its rank and alpha.
peft-embedding.safetensors and peft-tied.safetensors are the same of embeddings, in the second of both ends of one.

torch (CPU, f32), transformers and peft of the versions in the metadata.
"""
import json
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file



def make(name, seed, lora, **sizes):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, initializer_range=0.25, **sizes,
    )
    base = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(0, config.vocab_size, (1, 11))
    weights = {name: value.detach().clone() for name, value in base.state_dict().items()}
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]
    with torch.no_grad():
        without = base(ids).logits
        model = peft.get_peft_model(base, lora).eval()
        modules = {}
        for path, module in model.named_modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                # What it learned: PEFT's own B is zero, and so is the A of an embedding.
                for part in (module.lora_A, module.lora_B):
                    if "default" in part:
                        part["default"].weight.normal_(0, 0.5)
                for part in (module.lora_embedding_A, module.lora_embedding_B):
                    if "default" in part:
                        part["default"].normal_(0, 0.5)
                rank = module.r["default"]
                modules[path.removeprefix("base_model.model.")] = [rank, module.scaling["default"] * rank]
        if config.tie_word_embeddings:
            # One matrix that learned: as a head it is what it is as an embedding.
            embedding, head = model.get_submodule("base_model.model.model.embed_tokens"), model.get_submodule("base_model.model.lm_head")
            head.lora_A["default"].weight.copy_(embedding.lora_embedding_B["default"].T)
            head.lora_B["default"].weight.copy_(embedding.lora_embedding_A["default"].T)
        logits = model(ids).logits
    assert (logits - without).abs().max() > 1
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, save_embedding_layers=False)
        adapter = load_file(f"{folder}/adapter_model.safetensors")
        saved = json.load(open(f"{folder}/adapter_config.json"))
    tensors = {**weights, **{f"adapter.{name}": value for name, value in adapter.items()}, "input.input_ids": ids, "output.prefill_logits": logits}
    versions = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}, cpu f32, eager"
    save_file({name: value.contiguous() for name, value in tensors.items()}, f"{name}.safetensors", {
        "kind": "llama", "name": name, "reference": versions, "config": json.dumps(config.to_dict()),
        "adapter_config": json.dumps(saved), "modules": json.dumps(modules),
    })


make("peft-llama", 28, peft.LoraConfig(
    task_type="CAUSAL_LM", r=4, lora_alpha=6, rank_pattern={"o_proj": 2, "layers.1.mlp.down_proj": 3},
    alpha_pattern={"o_proj": 5, "layers.1.mlp.down_proj": 3},
    target_modules=r".*\.(q_proj|v_proj|o_proj)|.*\.layers\.1\.mlp\.down_proj",
), num_hidden_layers=3, tie_word_embeddings=False)
for name, tied in (("peft-embedding", False), ("peft-tied", True)):
    make(name, 29, peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, lora_alpha=3, rank_pattern={"embed_tokens": 3, **({"lm_head": 3} if tied else {})},
        target_modules=["q_proj", "k_proj", "v_proj", "embed_tokens", *(["lm_head"] if tied else [])],
    ), num_hidden_layers=1, tie_word_embeddings=tied)
