# Miniatures of benchmarks in the layout of the hub, written by the hub's own library: `python make.py` (datasets, pillow). By hand only.
import io
from datasets import Dataset, Features, Image, Sequence, Value
from PIL import Image as Pillow
from pyarrow import parquet


def png(red, green, blue):
    out = io.BytesIO()
    Pillow.new("RGB", (6, 4), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def picture(i, name=None):
    return {"bytes": png(40 * i % 256, 90 * i % 256, 10 * i % 256), "path": name or f"{i}.png"}


def write(path, rows, features, **options):
    import os

    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in features}
    Dataset.from_dict(columns, features=Features(features)).to_parquet(path, **options)


text = Value("string")
texts = Sequence(text)

# nyu-visionx/CV-Bench
cv = {
    "idx": Value("int32"), "type": text, "task": text, "image": Image(), "question": text, "choices": texts,
    "answer": text, "prompt": text, "filename": text, "source": text, "source_dataset": text, "target_size": Value("float32"),
}


def cv_row(i, kind, task, source, question, choices, answer, image=None):
    prompt = question + " Select from the following choices." + "".join(f"\n({chr(65 + c)}) {choice}" for c, choice in enumerate(choices))
    return {
        "idx": i, "type": kind, "task": task, "image": image or picture(i), "question": question, "choices": choices, "answer": answer,
        "prompt": prompt, "filename": f"{i}.png", "source": source, "source_dataset": source, "target_size": float(i),
    }


flat = [
    cv_row(0, "2D", "Count", "ADE20K", "How many chairs are in the image?", ["2", "3", "1", "0"], "(B)"),
    cv_row(1, "2D", "Relation", "ADE20K", "Where is the lamp with respect to the bed?", ["left", "right"], "(A)"),
    cv_row(2, "2D", "Count", "COCO", "How many dogs are in the image?", ["0", "1", "2", "3"], "(C)"),
    # Its picture does not decode.
    cv_row(3, "2D", "Relation", "COCO", "Where is the cat with respect to the dog?", ["above", "below"], "(B)", {"bytes": b"no picture", "path": "3.png"}),
    cv_row(4, "2D", "Relation", "COCO", "Where is the cup with respect to the plate?", ["left", "right"], "(B)"),
]
deep = [
    cv_row(5, "3D", "Depth", "Omni3D", "Which object is closer to the camera?", ["chair", "table"], "(A)"),
    cv_row(6, "3D", "Distance", "Omni3D", "Which object is closer to the sofa?", ["books", "lamp"], "(B)"),
    cv_row(7, "3D", "Depth", "Omni3D", "Which object is closer to the camera?", ["desk", "bed"], "(A)"),
]
write("cv-bench/test_2d.parquet", flat, cv, batch_size=2)
write("cv-bench/test_3d.parquet", deep, cv)
parquet.write_table(parquet.read_table("cv-bench/test_3d.parquet"), "cv-bench/test_3d.parquet", compression="zstd", row_group_size=2)

# lmms-lab/GQA: pictures in a configuration of their own
questions = [
    {"id": f"20{i}", "imageId": f"n{i % 2}", "question": f"Is it red? {i}", "answer": "yes" if i % 2 else "no", "fullAnswer": "Yes.",
     "isBalanced": True, "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify" if i < 2 else "query"}}
    for i in range(4)
]
write("gqa/testdev_balanced_instructions/testdev-00000-of-00001.parquet", questions,
      {"id": text, "imageId": text, "question": text, "answer": text, "fullAnswer": text, "isBalanced": Value("bool"),
       "types": {"detailed": text, "semantic": text, "structural": text}})
write("gqa/testdev_balanced_images/testdev-00000-of-00001.parquet", [{"id": f"n{i}", "image": picture(i)} for i in range(2)],
      {"id": text, "image": Image()})

# derek-thomas/ScienceQA: questions without a picture among the others
science = [
    {"image": picture(1) if i != 1 else None, "question": f"Which is a mammal? {i}", "choices": ["a shark", "a bear", "a toad"], "answer": i % 3,
     "hint": "Animals are grouped." if i == 0 else "", "task": "closed choice", "grade": "grade4"}
    for i in range(3)
]
write("scienceqa/data/test-00000-of-00001.parquet", science,
      {"image": Image(), "question": text, "choices": texts, "answer": Value("int8"), "hint": text, "task": text, "grade": text})

# lmms-lab/SEED-Bench: lists of pictures; frames of a video are no question about a picture
seed = [
    {"answer": "ABCD"[i], "choice_a": "one", "choice_b": "two", "choice_c": "three", "choice_d": "four", "data_type": "video" if i == 2 else "image",
     "question": f"How many towels are there? {i}", "question_id": str(i), "question_type_id": 5 if i else 1,
     "image": [picture(i)] if i != 2 else [picture(j) for j in range(3)]}
    for i in range(4)
]
write("seed/data/test-00000-of-00001.parquet", seed,
      {name: text for name in ["answer", "choice_a", "choice_b", "choice_c", "choice_d", "data_type", "question", "question_id"]}
      | {"question_type_id": Value("int64"), "image": Sequence(Image())})

# lmms-lab/textvqa
ocr = [{"image_id": "0", "question_id": 34602, "question": "what brand is it?", "image": picture(5), "ocr_tokens": ["DAKOTA", "DIGITAL"],
        "answers": ["dakota digital"] * 6 + ["dakota", "clos culombu", "nous les gosses", "dakota"]}]
write("textvqa/data/validation-00000-of-00001.parquet", ocr,
      {"image_id": text, "question_id": Value("int32"), "question": text, "image": Image(), "ocr_tokens": texts, "answers": texts})

# lmms-lab/MMBench_EN: two rotations of one question, and another question
bench = [
    {"index": 241 + 1000000 * r, "question": "What is it?", "hint": "nan" if r else "nan", "answer": "AB"[r], "A": ["cat", "dog"][r], "B": ["dog", "cat"][r],
     "C": "nan", "D": "nan", "category": "object_localization", "image": picture(7), "source": "coco", "l2-category": "finegrained_perception", "comment": "nan", "split": "dev"}
    for r in range(2)
] + [{"index": 252, "question": "And this?", "hint": "Look closely.", "answer": "C", "A": "x", "B": "y", "C": "z", "D": "w",
      "category": "object_localization", "image": picture(8), "source": "coco", "l2-category": "finegrained_perception", "comment": "nan", "split": "dev"}]
write("mmbench/data/dev-00000-of-00001.parquet", bench,
      {"index": Value("int32"), "image": Image()} | {n: text for n in ["question", "hint", "answer", "A", "B", "C", "D", "category", "source", "l2-category", "comment", "split"]})
