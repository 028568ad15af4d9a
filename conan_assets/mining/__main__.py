"""``python -m conan_assets.mining audit FILE`` and ``... export FILE``: look at mined negatives, hand them on."""

import argparse
import sys
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.data.tables import CORPUS, NEGATIVES, PAIRS, Table, TableError, check_table
from conan_assets.mining.audit import Mean, audit, queries_changed
from conan_assets.mining.export import LAYOUTS, export


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands; exit with a message when a file cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (TableError, ValueError, OSError, pl.exceptions.PolarsError) as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conan_assets.mining", description=__doc__)
    commands = parser.add_subparsers(required=True)
    auditing = commands.add_parser("audit", help="print what a negatives table holds and why the rest was removed")
    auditing.set_defaults(run=_audit)
    exporting = commands.add_parser("export", help="write the kept negatives as JSONL for another trainer")
    exporting.set_defaults(run=_export)
    for command in (auditing, exporting):
        command.add_argument("negatives", type=Path, help="negatives table, Parquet")
        command.add_argument("--count", type=int, default=4, help="negatives that a query needs (default 4)")
    auditing.add_argument(
        "--previous", type=Path, help="the table of the round before, for the share of queries changed"
    )
    exporting.add_argument("--pairs", type=Path, required=True, help="training pairs, Parquet")
    exporting.add_argument("--corpus", type=Path, required=True, help="corpus, Parquet")
    exporting.add_argument("--layout", choices=LAYOUTS, default="n_tuple")
    exporting.add_argument("--output", type=Path, required=True, help="JSONL file to write")
    return parser


def _read(path: Path, table: Table) -> pl.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give the Parquet file of a {table.name} table")
    return check_table(pl.read_parquet(path), table, str(path))


def _audit(options: argparse.Namespace) -> None:
    negatives = _read(options.negatives, NEGATIVES)
    report = audit(negatives, options.count)
    if options.previous:
        changed = Mean()
        changed.add(queries_changed(negatives, _read(options.previous, NEGATIVES), options.count))
        report["queries_changed"] = changed.value
    for name, value in report.items():
        if isinstance(value, list):
            print(f"\n{name}:\n{_table(value)}\n")
        else:
            print(f"{name:>28}  {value:,}")


def _export(options: argparse.Namespace) -> None:
    negatives = _read(options.negatives, NEGATIVES)
    pairs, corpus = _read(options.pairs, PAIRS), _read(options.corpus, CORPUS)
    lines = export(negatives, pairs, corpus, options.layout, options.count, options.output)
    print(f"{lines:,} lines in {options.output}")


def _table(rows: list[dict[str, Any]]) -> str:
    with pl.Config(
        tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_formatting="MARKDOWN", tbl_rows=-1
    ):
        return str(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
