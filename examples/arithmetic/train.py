"""Train the two checkpoints of this example: a healthy one, and one that a bad config ruined.

From the repository root::

    python examples/arithmetic/train.py                                  # data and both checkpoints
    python examples/arithmetic/train.py --evaluate examples/arithmetic/healthy
"""

import argparse
import copy
import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
SEED = 0
BATCH = 64
BLOCK = 48  # tokens per pretraining row: five or six lines of arithmetic
HELDOUT_PAIRS = 200
SFT_RECORDS = 3000
IGNORED = -100  # the label that transformers leaves out of its loss

SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>", "<|system|>", "<|user|>", "<|assistant|>"]
CHARACTERS = ["\n", *map(chr, range(32, 127))]
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# (instruction, input) per operator; an empty input is as legal in alpaca data as a filled one.
PHRASINGS = {
    "+": [("Add the two numbers.", "{}"), ("What is the sum?", "{}"), ("What is {}?", "")],
    "-": [("Subtract the numbers.", "{}"), ("What is the difference?", "{}"), ("What is {}?", "")],
}

Problem = tuple[str, str]  # an expression and its value: ("37+45", "82")
Record = dict[str, str]  # one alpaca example
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of one training run."""

    steps: int
    learning_rate: float
    weight_decay: float


PRETRAINING = Recipe(steps=1500, learning_rate=2e-3, weight_decay=0.01)
FINE_TUNING = {
    "healthy": Recipe(steps=500, learning_rate=1e-3, weight_decay=0.10),
    # The same run with one slip of the keyboard: a decay of 10 where 0.10 was meant.
    "anomalous": Recipe(steps=500, learning_rate=1e-3, weight_decay=10),
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer with one token per printable ASCII character."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *CHARACTERS])}
    # Byte-pair encoding without a single merge leaves the characters as they are.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.add_special_tokens(SPECIAL)
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",  # generation continues from the last position
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Returns a freshly initialised Llama of 0.8M parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.05,  # the usual 0.02 suits far wider models
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def problems_of(pair: tuple[int, int]) -> list[Problem]:
    """Returns the sums and the difference of two numbers, the smaller one given first."""
    low, high = pair
    sums = {(f"{low}+{high}", str(low + high)), (f"{high}+{low}", str(low + high))}
    return [*sorted(sums), (f"{high}-{low}", str(high - low))]


def split_problems(rng: random.Random) -> tuple[list[Problem], list[Problem]]:
    """Returns training and held-out problems.

    Whole pairs are held out, so no held-out sum is in training with its terms swapped.
    """
    pairs = list(itertools.combinations_with_replacement(range(10, 100), 2))
    rng.shuffle(pairs)
    heldout = [p for pair in pairs[:HELDOUT_PAIRS] for p in problems_of(pair)]
    training = [p for pair in pairs[HELDOUT_PAIRS:] for p in problems_of(pair)]
    rng.shuffle(heldout)
    rng.shuffle(training)
    return training, heldout


def to_record(problem: Problem, rng: random.Random) -> Record:
    """Returns a problem as an alpaca example in one of the phrasings."""
    expression, value = problem
    operator = "+" if "+" in expression else "-"
    instruction, question = rng.choice(PHRASINGS[operator])
    return {
        "instruction": instruction.format(expression),
        "input": question.format(expression),
        "output": value,
    }


def write_data(training: list[Problem], heldout: list[Problem], rng: random.Random) -> None:
    """Writes both alpaca files, one record per line, and the `dataset_info.json` naming them."""
    DATA.mkdir(exist_ok=True)
    splits = {"arithmetic_sft": training[:SFT_RECORDS], "arithmetic_heldout": heldout}
    for name, problems in splits.items():
        lines = ",\n".join(json.dumps(to_record(problem, rng)) for problem in problems)
        (DATA / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    info = {name: {"file_name": f"{name}.json"} for name in splits}
    (DATA / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n")


def read_data(name: str) -> list[Record]:
    """Returns the records of one of the data files."""
    return json.loads((DATA / f"{name}.json").read_text())


def prompt_of(record: Record, tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the text a record is asked with, up to where the answer starts."""
    content = "\n".join(filter(None, [record["instruction"], record["input"]]))
    message = {"role": "user", "content": content}
    return tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)


def pretraining_batches(
    tokenizer: PreTrainedTokenizerBase, problems: list[Problem], rng: random.Random
) -> Iterator[Batch]:
    """Yields blocks of plain text (`37+45=82` on a line each), in a new order every epoch."""
    while True:
        order = rng.sample(problems, len(problems))
        text = "".join(f"{expression}={value}\n" for expression, value in order)
        ids = torch.tensor(tokenizer(text)["input_ids"])
        blocks = ids[: len(ids) // BLOCK * BLOCK].view(-1, BLOCK)
        for block in blocks.split(BATCH):
            yield {"input_ids": block, "labels": block}


def fine_tuning_batches(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], rng: random.Random
) -> Iterator[Batch]:
    """Yields padded conversations in which only the answer and its end are labelled."""
    examples = []
    for record in records:
        prompt = tokenizer(prompt_of(record, tokenizer))["input_ids"]
        answer = tokenizer(record["output"] + tokenizer.eos_token)["input_ids"]
        ids = torch.tensor(prompt + answer)
        examples.append((ids, torch.tensor([IGNORED] * len(prompt) + answer)))
    while True:
        rng.shuffle(examples)
        for start in range(0, len(examples), BATCH):
            ids, labels = zip(*examples[start : start + BATCH], strict=True)
            # Padded on the right, where a causal model needs no attention mask.
            yield {
                "input_ids": pad_sequence(
                    ids, batch_first=True, padding_value=tokenizer.pad_token_id
                ),
                "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            }


def train(model: LlamaForCausalLM, batches: Iterator[Batch], recipe: Recipe, name: str) -> None:
    """Trains all parameters in place: AdamW, a short warm-up, then linear decay to zero."""
    # Norm gains are spared the weight decay, as the usual trainers do.
    matrices = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": gains, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 50, 1 - step / recipe.steps)
    )
    started = time.monotonic()
    model.train()
    for step, batch in enumerate(itertools.islice(batches, recipe.steps), start=1):
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            seconds = time.monotonic() - started
            print(f"{name}: step {step}, loss {loss.item():.4f}, {seconds:.0f} s", flush=True)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Saves a checkpoint with its weights rounded to bfloat16."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # Releases 4 and 5 of transformers both know the class by this name, 4 not by the newer one.
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def evaluate(directory: Path) -> None:
    """Prints how many held-out problems a checkpoint answers, greedily and in float32."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    records = read_data("arithmetic_heldout")
    inputs = tokenizer(
        [prompt_of(record, tokenizer) for record in records], padding=True, return_tensors="pt"
    )
    output = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    answers = tokenizer.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right = sum(answer == record["output"] for answer, record in zip(answers, records, strict=True))
    norm = torch.cat([p.flatten() for p in model.parameters()]).norm()
    print(
        f"{directory.name}: {right}/{len(records)} right ({right / len(records):.1%}), "
        f"weight norm {norm:.1f}"
    )


def train_all() -> None:
    """Writes the data, pretrains one base model and fine-tunes it with each recipe."""
    rng = random.Random(SEED)
    torch.manual_seed(SEED)
    training, heldout = split_problems(rng)
    write_data(training, heldout, rng)
    tokenizer = build_tokenizer()
    base = build_model(tokenizer)
    train(base, pretraining_batches(tokenizer, training, rng), PRETRAINING, "base")
    records = read_data("arithmetic_sft")
    for name, recipe in FINE_TUNING.items():
        model = copy.deepcopy(base)
        # The same seed for each, so that both see the same batches.
        batches = fine_tuning_batches(tokenizer, records, random.Random(SEED))
        train(model, batches, recipe, name)
        save(model, tokenizer, HERE / name)
        evaluate(HERE / name)


def main() -> None:
    """Trains everything, or evaluates the one checkpoint that was named."""
    parser = argparse.ArgumentParser(description="Train or evaluate the arithmetic checkpoints.")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="only evaluate a checkpoint")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    disable_progress_bar()
    if arguments.evaluate:
        evaluate(arguments.evaluate)
    else:
        train_all()


if __name__ == "__main__":
    main()
