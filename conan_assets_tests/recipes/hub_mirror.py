"""A mirror of the hub's models and data sets that the papers' recipes name: the same layouts, some dozens of rows."""

import json
import random
import string
from pathlib import Path

import polars as pl
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertModel, BertTokenizerFast, MistralConfig, MistralModel, PreTrainedTokenizerFast

from conan_assets.data.files import SAMPLES

Tables = dict[str, dict[str, pl.DataFrame]]
"""Tables by configuration and split."""

ZH = SAMPLES / "zh"
# fmt: off
WORDS = [
    "anchor", "apple", "autumn", "basket", "bridge", "bronze", "candle", "canyon", "castle", "cedar", "cherry",
    "circle", "cloud", "copper", "cotton", "desert", "diamond", "eagle", "ember", "falcon", "feather", "forest",
    "garden", "ginger", "glacier", "harbor", "hazel", "island", "ivory", "jasmine", "jungle", "kettle", "lantern",
    "lemon", "linen", "marble", "meadow", "mirror", "mountain", "needle", "nickel", "ocean", "olive", "orchard",
    "oyster", "paper", "pepper", "pillow", "planet", "pocket", "quartz", "rabbit", "raven", "ribbon", "river",
    "saddle", "salmon", "shadow", "silver", "spider", "spring", "summer", "sunset", "temple", "thunder", "timber",
    "tunnel", "umbrella", "valley", "velvet", "violet", "walnut", "window", "winter", "yellow", "zebra",
]
# fmt: on


def write_repository(folder: Path, tables: Tables) -> None:
    """Write a data set as the hub lays it out: a Parquet file for each split, configurations in the README."""
    lines = ["---", "configs:"]
    for config, splits in tables.items():
        lines += [f"- config_name: {config}", *(["  default: true"] if config == "default" else []), "  data_files:"]
        for split, frame in splits.items():
            path = folder / config / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(path)
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def write_bert(folder: Path, seed: int) -> None:
    """Save a BERT of one layer, 1024 wide, that knows the characters of the Chinese samples."""
    text = "".join(path.read_text() for path in sorted(ZH.rglob("*.jsonl"))) + string.ascii_lowercase
    pieces = sorted(set(text.lower()) - set(string.whitespace))
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *pieces,
        *(f"##{letter}" for letter in string.ascii_lowercase),
    ]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=1024, num_hidden_layers=1, num_attention_heads=16, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder / "bert")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=512).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=512)
    SentenceTransformer(modules=[transformer, Pooling(1024), Normalize()], device="cpu").save(str(folder / "model"))


def write_mistral(folder: Path, seed: int) -> None:
    """Save a Mistral of two layers whose tokenizer, like the original's, has no token to pad with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", model_max_length=1024
    )
    assert wrapped.pad_token is None
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024,
    )  # fmt: skip
    MistralModel(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)


def chinese_data(folder: Path) -> None:
    """Write every data set that ``conan_zh`` names."""
    documents = dict(pl.read_ndjson(ZH / "retrieval/corpus.jsonl").select("_id", "text").iter_rows())
    judged = pl.read_csv(ZH / "retrieval/qrels/train.tsv", separator="\t")
    texts = dict(pl.read_ndjson(ZH / "retrieval/queries.jsonl").select("_id", "text").iter_rows())
    rows = [(texts[query], [documents[document]]) for query, document, _ in judged.iter_rows()]
    parts = [pl.DataFrame(rows[start::8], schema=["query", "positive"], orient="row") for start in range(8)]
    unused = [part.with_columns(negative=pl.lit([["不相关的文字。"]]).list.first()) for part in parts]
    configs = ["t2ranking", "dureader", "mmarco_merged", "cmedqa2", "multi-cpr-ecom", "multi-cpr-medical"]
    retrieval = {name: {"train": part} for name, part in zip([*configs, "multi-cpr-video"], unused, strict=False)}
    write_repository(folder / "BeastyZ/cmteb_retrieval", retrieval)
    written = parts[7].select(
        pl.col("query").alias("Query"),
        pl.col("positive").alias("Positive Document"),
        pl.lit(["今天下雨了。", "图书馆周一闭馆。"]).alias("Hard Negative Document"),
    )
    write_repository(folder / "infgrad/retrieval_data_llm", {"default": {"train": written}})
    graded = pl.read_ndjson(ZH / "sts/train.jsonl")
    for number, name in enumerate(("ATEC", "BQ", "LCQMC", "AFQMC", "PAWSX", "STSB")):
        part = graded[number::6]
        score = pl.col("score") if name == "STSB" else (pl.col("score") > 2.5).cast(pl.Int32)
        write_repository(folder / "C-MTEB" / name, {"default": {"train": part.with_columns(score=score)}})
    labelled = pl.read_ndjson(ZH / "classification/train.jsonl")
    names = ("TNews", "IFlyTek", "waimai", "OnlineShopping", "JDReview", "MultilingualSentiment")
    for number, name in enumerate(names):
        part = labelled[number::6].with_columns(label=pl.col("label").rank("dense").cast(pl.Int64))
        write_repository(folder / f"C-MTEB/{name}-classification", {"default": {"train": part}})


def english_data(folder: Path) -> None:
    """Write every data set that ``nv_retriever_en`` names."""
    for number, name in enumerate(("msmarco", "hotpotqa", "fever", "fiqa", "nfcorpus", "scifact")):
        write_repository(folder / "mteb" / name, _judged(name, number))
    for number, name in enumerate(("natural-questions", "trivia-qa")):
        rows = [_asked(row, 50 + number) for row in range(24)]
        asked = pl.DataFrame(rows, schema=["query", "answer"], orient="row")
        write_repository(folder / "sentence-transformers" / name, {"pair": {"train": asked}})
    for name, labels in (("banking77", 4), ("emotion", 6), ("imdb", 2)):
        texts = [f"{_asked(row, 60 + labels)[1]} That is what {name} says." for row in range(24)]
        rows = {"text": texts, "label": [row % labels for row in range(24)], "label_text": [f"l{r}" for r in range(24)]}
        write_repository(folder / "mteb" / name, {"default": {"train": pl.DataFrame(rows), "test": pl.DataFrame(rows)}})
    for number, name in enumerate(("stsbenchmark-sts", "sts12-sts")):
        pairs = [(*_asked(row, 70 + number)[::-1], float(row % 6)) for row in range(24)]
        frame = pl.DataFrame(pairs, schema=["sentence1", "sentence2", "score"], orient="row")
        write_repository(folder / "mteb" / name, {"default": {"train": frame, "test": frame.head(2)}})


def _asked(row: int, seed: int) -> tuple[str, str]:
    """Return a question and its answer, unlike those of other rows and seeds."""
    words = random.Random(1_000 * seed + row).sample(WORDS, 6)
    about = f"{words[0]} {words[1]}"
    return f"why is the {about} {words[2]} {words[3]}?", f"The {about} is {' and '.join(words[2:])}, as the book says."


def _judged(name: str, number: int) -> Tables:
    """Return a set in BEIR layout: 24 queries to train on, 6 each for dev and test, and a document without text."""
    rows = [_asked(row, 20 + number) for row in range(36)]
    corpus = pl.DataFrame({"_id": [f"{name}{i}" for i in range(36)], "title": "", "text": [text for _, text in rows]})
    if name not in ("nfcorpus", "scifact"):
        corpus = pl.concat([corpus, pl.DataFrame({"_id": ["empty"], "title": [""], "text": [""]})])
    queries = pl.DataFrame({"_id": [f"q{i}" for i in range(36)], "text": [query for query, _ in rows]})
    judged = pl.DataFrame({"query-id": queries["_id"], "corpus-id": corpus["_id"][:36], "score": [1] * 36})
    splits = {"train": judged[:24], "dev": judged[24:30], "test": judged[30:]}
    return {"corpus": {"corpus": corpus}, "queries": {"queries": queries}, "default": splits}


def pointed_at(values: object, mirror: Path) -> object:
    """Return a profile's values with every name on the hub replaced by its folder in the mirror."""
    if isinstance(values, list):
        return [pointed_at(value, mirror) for value in values]
    if not isinstance(values, dict):
        return values
    changed = {key: pointed_at(value, mirror) for key, value in values.items()}
    for key, kind in (("model", "models"), ("path", "datasets")):
        if isinstance(values.get(key), str):
            changed[key] = str(mirror / kind / values[key])
    if values.get("kind") == "mteb":
        changed["folder"] = str(mirror / "benchmarks")
    return json.loads(json.dumps(changed))
