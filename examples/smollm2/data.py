"""Two small data sets that need no download: what Python's functions do, and word problems.

    python data.py runs/data

writes `python.jsonl` and `sums.jsonl`, and of each the rows held out, in the layout of
LLaMA-Factory's alpaca files. The rows are the same every time on one version of Python.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    *("argparse", "asyncio", "bisect", "calendar", "codecs", "collections", "configparser"),
    *("contextlib", "copy", "csv", "datetime", "difflib", "email", "fileinput", "fnmatch"),
    *("fractions", "ftplib", "functools", "gettext", "glob", "gzip", "heapq", "html", "inspect"),
    *("io", "ipaddress", "itertools", "json", "linecache", "locale", "logging", "mailbox", "math"),
    *("mimetypes", "operator", "os", "os.path", "pathlib", "pickle", "platform", "pprint"),
    *("random", "re", "sched", "secrets", "shelve", "shlex", "shutil", "socket", "statistics"),
    *("string", "struct", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit"),
    *("tokenize", "traceback", "types", "unicodedata", "urllib.parse", "uuid", "warnings", "wave"),
    *("weakref", "zipfile"),
)
THINGS = ("apple", "book", "brick", "candle", "chair", "coin", "egg", "lamp", "pen", "plate")
HELD_OUT = 64


def functions() -> Iterator[dict[str, str]]:
    """A row for every public function or class of those modules that says what it does."""
    seen = set()
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in sorted(getattr(module, "__all__", None) or dir(module)):
            value: Any = getattr(module, attribute, None)
            text = inspect.getdoc(value) if callable(value) else None
            sentence = re.split(r"(?<=\.)\s|\n\n", text or "")[0].replace("\n", " ").strip()
            if attribute.startswith("_") or not 30 <= len(sentence) <= 160 or sentence in seen:
                continue
            seen.add(sentence)
            yield {
                "instruction": f"What does {name}.{attribute} do in Python?",
                "output": sentence,
            }


def sums(count: int = 900) -> Iterator[dict[str, str]]:
    """Word problems of two steps, each with its working."""
    chance = random.Random(0)
    for _ in range(count):
        thing, boxes, each = chance.choice(THINGS), chance.randint(3, 12), chance.randint(4, 15)
        left, whole = chance.randint(1, each), boxes * each
        yield {
            "instruction": f"A shop has {boxes} boxes of {each} {thing}s. It sells {left} of the "
            f"{thing}s. How many {thing}s are left?",
            "output": f"{boxes} boxes of {each} are {boxes} * {each} = {whole} {thing}s. "
            f"{whole} - {left} = {whole - left}. The answer is {whole - left}.",
        }


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="directory of the files that are written")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in (("python", list(functions())), ("sums", list(sums()))):
        random.Random(1).shuffle(rows)
        for file, part in ((name, rows[HELD_OUT:]), (f"{name}_held_out", rows[:HELD_OUT])):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
            (output / f"{file}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(rows)} rows, {HELD_OUT} held out")


if __name__ == "__main__":
    main()
