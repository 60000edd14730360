"""hookline log backup: the embedded log, copied while it is written."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded log: backup.", no_args_is_help=True)


@app.command("backup")
def backup(
    to: Annotated[
        Path, typer.Argument(help="The directory to make; it must not be there yet.")
    ],
    *,
    data: Annotated[
        Path, typer.Option(envvar="HOOKLINE_DATA", help="Where the log is kept.")
    ] = Path(".hookline"),
) -> None:
    """Copy the embedded log, and bodies beside it, while `hookline up` goes on.

    All that was accepted before it began is in the copy. To go back to it, stop Hookline
    and start it with `--data` on the copy, or on a copy of that.
    """
    import sys

    from hookline.log.sqlite_backup import back_up

    def tell(done: int, pages: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done:,} of {pages:,} pages", err=True, nl=done >= pages)

    size = back_up(data, to, tell)
    typer.echo(str(to))
    typer.echo(
        f"{size:,} bytes, checked; to run on it: hookline up --data {to}", err=True
    )
