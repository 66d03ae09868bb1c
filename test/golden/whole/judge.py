"""Greedy tokens of transformers over the directories of test/support/made-vlm.ts: the vectors beside this file.

    npx node test/support/made-vlm.ts gemma3 /tmp/gemma3
    python test/golden/whole/judge.py gemma3 /tmp/gemma3 > test/golden/whole/gemma3.json

The kinds `llava`, `llava_next` and `llava_siglip` are made by examples/make-llava.ts.

Pictures are ramps that both sides make from the same integers. torch (CPU, f32) and transformers 5.17 with its Pillow image processors.
"""
import json
import sys

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer, __version__
from transformers.image_processing_utils import select_best_resolution
from transformers.processing_utils import ProcessorMixin
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

kind, directory = sys.argv[1:3]
STEPS = 8


def picture(width, height):
    i = np.arange(width * height * 3, dtype=np.int64)
    pixel, channel = i // 3, i % 3
    x, y = pixel % width, pixel // width
    value = (x * (3 + channel) + y * (7 - 2 * channel) + (x * y) // 5 * (channel + 1)) % 256
    return Image.fromarray(value.astype(np.uint8).reshape(height, width, 3))


tokenizer = AutoTokenizer.from_pretrained(directory)


class SmolVlm:
    """`SmolVLMProcessor` without its video processor, which needs torchvision."""

    def __init__(self):
        self.images = SmolVLMImageProcessorPil.from_pretrained(directory)

    def apply_chat_template(self, messages, **kwargs):
        return tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)

    def __call__(self, text, images=None, **kwargs):
        made, prompt = {}, text[0]
        if images is not None:
            made = dict(self.images(images, return_row_col_info=True, return_tensors="pt"))
            rows, cols = made.pop("rows")[0], made.pop("cols")[0]
            pieces = prompt.split("<image>")
            prompt = pieces[0]
            for row, col, piece in zip(rows, cols, pieces[1:]):
                prompt += get_image_prompt_string(row, col, 4, "<fake_token_around_image>", "<image>", "<global-img>") + piece
        return {**tokenizer([prompt], **kwargs), **made}


class QwenVl:
    """`Qwen2_5_VLProcessor` and `Qwen3VLProcessor` without their video processor, which needs torchvision."""

    def __init__(self):
        self.images = Qwen2VLImageProcessorPil.from_pretrained(directory)

    def apply_chat_template(self, messages, **kwargs):
        return tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)

    def __call__(self, text, images=None, **kwargs):
        made, prompt = {}, text[0]
        if images is not None:
            made = dict(self.images(images[0], return_tensors="pt"))
            pieces = prompt.split("<|image_pad|>")
            prompt = pieces[0]
            for grid, piece in zip(made["image_grid_thw"], pieces[1:]):
                prompt += "<|image_pad|>" * (int(grid.prod()) // 4) + piece
        ids = tokenizer([prompt], **kwargs)
        image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        return {**ids, "mm_token_type_ids": (ids["input_ids"] == image).int(), **made}


class Llava:
    """`LlavaProcessor` and `LlavaNextProcessor` with the prompt's form of LLaVA-1.5."""

    def __init__(self):
        self.next = kind == "llava_next"
        made = LlavaNextImageProcessorPil if self.next else CLIPImageProcessorPil
        pins = {"image_grid_pinpoints": CONFIG["image_grid_pinpoints"]} if self.next else {}
        self.images = made.from_pretrained(directory, **pins)

    def apply_chat_template(self, messages, **kwargs):
        parts = messages[0]["content"]
        return "USER: " + "".join("<image>\n" if p["type"] == "image" else p["text"] for p in parts) + " ASSISTANT:"

    def __call__(self, text, images=None, **kwargs):
        made, prompt = {}, text[0]
        if images is not None:
            made = dict(self.images(images[0], return_tensors="pt"))
            pieces = prompt.split("<image>")
            prompt = pieces[0]
            for picture, piece in zip(range(len(images[0])), pieces[1:]):
                prompt += "<image>" * self.tokens(made, picture) + piece
        return {**tokenizer([prompt], return_tensors=kwargs["return_tensors"]), **made}

    def tokens(self, made, picture):
        vision = CONFIG["vision_config"]
        patches = vision["image_size"] // vision["patch_size"]
        if not self.next:
            return patches * patches
        height, width = (int(x) for x in made["image_sizes"][picture])
        rows, columns = (x // vision["image_size"] for x in select_best_resolution([height, width], CONFIG["image_grid_pinpoints"]))
        counts = LlavaNextProcessor._get_unpadded_features
        return patches * patches + sum(counts(None, height, width, patches, patches, rows, columns))


# Their video processors need torchvision.
proper = ProcessorMixin.check_argument_for_proper_class
ProcessorMixin.check_argument_for_proper_class = lambda self, name, given: None if name == "video_processor" else proper(self, name, given)

CONFIG = json.load(open(f"{directory}/config.json"))
if kind == "llava_onevision":
    vision = CONFIG["vision_config"]
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil.from_pretrained(directory),
        tokenizer,
        num_image_tokens=(vision["image_size"] // vision["patch_size"]) ** 2,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        vision_aspect_ratio=CONFIG["vision_aspect_ratio"],
    )
elif kind.startswith("internvl"):
    images = GotOcr2ImageProcessorPil.from_pretrained(directory)
    processor = InternVLProcessor(images, tokenizer, image_seq_length=CONFIG["image_seq_length"], chat_template=tokenizer.chat_template)
elif kind.startswith("llava"):
    processor = Llava()
elif kind == "gemma3":
    images = Gemma3ImageProcessorPil.from_pretrained(directory)
    processor = Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)
elif kind == "smolvlm":
    processor = SmolVlm()
else:
    processor = QwenVl()
model, info = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
print({k: sorted(v) if not isinstance(v, dict) else v for k, v in info.items()}, file=sys.stderr)
model.eval()
# Nothing ends an answer before its time; a session ends where the model says so.
model.generation_config.eos_token_id = None

cases = []
few = ([], [(56, 56)], [(100, 40)], [(30, 90), (64, 64)])
# Square, wide, tall, tiny, larger than any canvas, two.
many = ([], [(56, 56)], [(150, 50)], [(30, 120)], [(9, 7)], [(420, 440)], [(30, 90), (64, 64)])
for sizes in many if kind in ("llava_onevision", "internvl") else many[2:3] if kind == "internvl_6b" else few:
    content = [{"type": "image"} for _ in sizes] + [{"type": "text", "text": "What is in this picture?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    kwargs = {"images": [[picture(*size) for size in sizes]]} if sizes else {}
    inputs = processor(text=[text], return_tensors="pt", add_special_tokens=not begins, **kwargs)
    with torch.no_grad():
        out = model.generate(
            **inputs, max_new_tokens=STEPS, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
    prompt = inputs["input_ids"][0].tolist()
    logits = [row[0].double() for row in out.logits]
    top = [torch.topk(row, 2).values for row in logits]
    cases.append(
        {
            "pictures": [{"width": w, "height": h} for w, h in sizes],
            "ids": prompt,
            "tokens": out.sequences[0, len(prompt) :].tolist(),
            "lead": min(float(best - second) for best, second in (t.tolist() for t in top)),
            "logits": [round(float(x), 5) for x in logits[0]],
        }
    )
print(json.dumps({"transformers": __version__, "question": "What is in this picture?", "cases": cases}))
