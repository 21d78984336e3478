"""``dfbench registry serve-index``: the contents of the registry as a page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import RegistryUrl


def serve_index(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for index.json and index.html; with it the files are written and nothing is served.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Network address of the server.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of the server; 0 selects one that is free.")
    ] = 8765,
    registry: RegistryUrl = None,
) -> None:
    """Show the contents of the registry as a page and as JSON.

    Both are served until Ctrl-C, or written to a folder by --out.

    Examples:
        dfbench registry serve-index
        dfbench registry serve-index --out page/
    """
    import tempfile

    from deepfake_bench.registry.index_page import serve, write_index
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.store.index import make_index
    from deepfake_registry.store.opening import open_registry

    index = make_index(open_registry(registry))
    if out is not None:
        for file in write_index(index, out):
            typer.echo(f"wrote {file}")
        return
    with tempfile.TemporaryDirectory(prefix="deepfake-") as folder:
        write_index(index, Path(folder))
        try:
            server = serve(Path(folder), host, port)
        except OSError as error:
            raise RegistryError(f"{host}:{port}: cannot be served at: {error.strerror}; name another --port") from error
        with server:
            typer.echo(f"serving http://{host}:{server.server_port}/ until Ctrl-C")
            server.serve_forever()
