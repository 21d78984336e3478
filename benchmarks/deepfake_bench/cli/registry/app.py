"""``dfbench registry``: the group of commands that publish models and maintain the registry."""

from __future__ import annotations

from deepfake_bench.cli.commands import App
from deepfake_bench.cli.registry import alias, build, index, models, signatures, transfer, upkeep

app = App("registry")


@app.callback()
def options() -> None:
    """Publish models, and maintain the registry that holds them.

    Examples:
        dfbench registry push runs/mine
        dfbench registry ls
    """


app.command("build")(build.build)
app.command("ls")(models.list_models)
app.command("show")(models.show)
app.command("push")(transfer.push)
app.command("pull")(transfer.pull)
app.command("alias")(alias.alias)
app.command("verify")(upkeep.verify)
app.command("gc")(upkeep.gc)
app.command("diff")(models.diff)
app.command("sign")(signatures.sign)
app.command("check-signature")(signatures.check_signature)
app.command("serve-index")(index.serve_index)
