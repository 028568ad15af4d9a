"""Sixty files of documents, and an endpoint that writes and grades questions about them by rule."""

import json
import random
import re
from pathlib import Path
from typing import Any

from conan_assets_tests.llm.server import Reply, questions

SUBJECTS = ["pump", "valve", "boiler", "turbine", "crane", "furnace", "lathe", "kiln", "press", "drill", "loom", "mill"]
VERBS = ["turns", "stops", "heats", "lifts", "cools", "holds", "shakes", "fills", "opens", "closes", "locks", "hums"]
PLACES = ["cellar", "harbour", "tower", "yard", "tunnel", "attic", "garden", "bridge", "dock", "hall", "barn", "shed"]
CHINESE = "水火山石田土木金风云雨雪江河湖海花草鸟鱼马牛羊车船门窗桌灯书笔纸刀"


def section(code: str, subject: str, drawn: random.Random) -> str:
    words = [" ".join(drawn.sample(VERBS, 3) + drawn.sample(PLACES, 3)) for _ in range(3)]
    return f"The {subject} {code} {words[0]}. It {words[1]} at night. Then it {words[2]} and rests for a while."


def page(number: int, drawn: random.Random) -> str:
    """Two sections about machines of the same kind as other pages', with numbers of their own."""
    subject = SUBJECTS[number % 12]
    parts = [f"## Part {part}\n\n{section(f'K{number}{part}', subject, drawn)}\n" for part in "AB"]
    return f"# The {subject} of house {number}\n\n" + "\n".join(parts)


def as_html(markdown: str) -> str:
    lines = (
        re.sub(r"^(#+) (.*)$", lambda m: f"<h{len(m[1])}>{m[2]}</h{len(m[1])}>", line) for line in markdown.split("\n")
    )
    body = "\n".join(line if line.startswith("<h") else f"<p>{line}</p>" for line in lines if line)
    return (
        f"<html><head><title>Plant</title></head><body><nav><a href='/'>Home</a></nav><main>{body}</main></body></html>"
    )


def write_documents(folder: Path) -> None:
    """Write 36 pages of Markdown and 12 of HTML, 4 copies, 6 Chinese texts, and 4 files that hold no document."""
    drawn = random.Random(0)
    folder.mkdir(parents=True)
    for number in range(48):
        markdown = page(number, drawn)
        if number < 36:
            (folder / f"page_{number}.md").write_text(markdown)
        else:
            (folder / f"page_{number}.html").write_text(as_html(markdown))
    (folder / "copies").mkdir()
    for number in range(2):
        text = (folder / f"page_{number}.md").read_text()
        (folder / "copies" / f"same_{number}.md").write_text(text)
        (folder / "copies" / f"near_{number}.md").write_text(text.replace("at night", "by night"))
    for number in range(6):
        text = "".join(drawn.choices(CHINESE, k=30)) + f"编号C{number}。" + "".join(drawn.choices(CHINESE, k=30)) + "。"
        (folder / f"zh_{number}.txt").write_bytes(text.encode("gb18030" if number == 5 else "utf-8"))
    (folder / "empty.md").write_text(" \n")
    (folder / "picture.txt").write_bytes(b"\x89PNG\0\0\0")
    (folder / "huge.txt").write_text("word " * 10_000)
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4 nothing of a document")


def passage_of(body: dict[str, Any]) -> str:
    return re.search(r"<passage-(\w+)>\n(.*)\n</passage-\1>", body["messages"][0]["content"], re.DOTALL)[2]


def by_rule(number: int, body: dict[str, Any]) -> Reply:
    """Ask for the code of the passage; grade a question 5 if its code stands in the passage, else 2."""
    text, passage = body["messages"][0]["content"], passage_of(body)
    if "You judge questions" not in text:
        code = re.search(r"[KC]\d+[AB]?", passage)
        words = " ".join(re.findall(r"[a-z]{4,}", passage)[::-2])
        return questions(f"What about number {code[0] if code else 'none'}: {words}?")
    asked = re.findall(r"<question-(\w+)>\n(.*)\n</question-\1>", text)
    codes = [re.search(r"number (\w+):", question)[1] for _, question in asked]
    grades = [{"answered": 5 if re.search(rf"\b{code}\b", passage) else 2, "clear": 5, "natural": 4} for code in codes]
    return Reply(json.dumps({"grades": grades}))
