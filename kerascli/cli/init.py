"""`kerascli init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("template", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; else the spec is printed.")
@click.option("--list", "listed", is_flag=True, help="List the templates.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(template: str | None, output: Path | None, listed: bool, as_json: bool) -> None:
    """Give a commented spec to start from.

    Example: kerascli init image -o my.yaml && kerascli train my.yaml
    """
    import json
    from importlib import resources

    from kerascli import files

    folder = resources.files("kerascli.templates")
    texts = {p.name.removesuffix(".yaml"): p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".yaml")}
    texts = {name: texts[name] for name in sorted(texts)}
    if listed:
        about = {name: text.splitlines()[0].removeprefix("# ") for name, text in texts.items()}
        width = max(map(len, about))
        lines = "\n".join(f"{name:{width}}  {line}" for name, line in about.items())
        click.echo(json.dumps(about, indent=2) if as_json else lines)
        return
    name = template or "image"
    if name not in texts:
        raise click.UsageError(f"there is no template `{name}`; there are {', '.join(texts)}")
    if output is None:
        click.echo(
            json.dumps({"template": name, "spec": texts[name]}, indent=2) if as_json else texts[name], nl=as_json
        )
        return
    if output.exists():
        raise click.UsageError(f"`{output}` is there already; choose another name")
    files.write_text(output, texts[name])
    train = f"kerascli train {output}"
    click.echo(json.dumps({"template": name, "file": str(output)}, indent=2) if as_json else f"{output}: now {train}")
