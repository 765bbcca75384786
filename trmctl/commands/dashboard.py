"""`trmctl dashboard`."""

from pathlib import Path

import click

from trmctl.times import duration


@click.command("dashboard")
@click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Folder of runs.")
@click.option("--prometheus", metavar="URL", help="Show the runs that this Prometheus scrapes, too.")
@click.option("--since", type=duration, default="6h", show_default=True, help="How far back Prometheus is asked.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8800, show_default=True, help="Port; 0: any free one.")
@click.option("--every", type=duration, default="3s", show_default=True, help="Time between two refreshes.")
@click.option("--open/--no-open", "browser", default=True, help="Open it in the browser.")
def command(
    runs: str, prometheus: str | None, since: float, address: str, port: int, every: float, browser: bool
) -> int:
    """Show runs as they train, on a page in the browser.

    Curves, accuracy by supervision step, halting, where the time goes, and grids that are being learned; several runs
    overlaid. The page reads the runs' metrics.jsonl, or Prometheus, and works without a network. Ctrl-C ends it.

    \b
    Example:
      trmctl dashboard
      trmctl dashboard --prometheus http://127.0.0.1:9090 --since 24h
    """
    import webbrowser

    from trmctl.dashboard.local import Local
    from trmctl.dashboard.remote import Prometheus
    from trmctl.dashboard.server import Numbers, Site, serve
    from trmctl.output import talk

    places: list[Numbers] = [Local(Path(runs))]
    if prometheus is not None:
        places.append(Prometheus(prometheus, since))
    server = serve(Site(places, every), address, port)
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{server.server_address[1]}/"
    click.echo(url)
    talk("Ctrl-C ends it; the runs go on")
    if browser:
        webbrowser.open(url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0
