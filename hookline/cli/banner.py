"""What a person sees first: the hook URLs, a line to try, and what is missing."""

from collections.abc import Sequence
from importlib.metadata import version

from hookline.cli.flow_directory import News
from hookline.cli.hosting import Hosted
from hookline.cli.lines import EventLines
from hookline.cli.options import TOKEN_FILE
from hookline.flow import Flow, NoAuth
from hookline.flow_file import Mistake

SAMPLE = '{"name": "Ada"}'


def show_banner(lines: EventLines, hosted: Hosted) -> None:
    """Say where everything is and what to do next."""
    base = f"http://{hosted.http}"
    served = hosted.directory.served()
    lines.say(
        f"\nHookline {version('hookline')}: webhooks in, flows run.\n",
        started=True,
        http=base,
        grpc=hosted.grpc,
        admin=f"http://{hosted.admin}",
        flows=[flow.id for flow, missing in served if not missing],
    )
    for flow, missing in served:
        _show_flow(lines, flow, missing, base)
    for flow_id, command in hosted.directory.held():
        lines.say(
            f"  {flow_id:<18} nothing of it runs until: hookline flows {command} {flow_id}",
            held=flow_id,
            until=command,
        )
    news = hosted.directory.news
    show_changes(lines, News([], news.inactive, [], news.without_file, news.overruled))
    _show_mistakes(lines, hosted.directory.news.mistakes)
    _show_next(lines, hosted, [flow for flow, missing in served if not missing])


def _show_flow(
    lines: EventLines, flow: Flow, missing: tuple[str, ...], base: str
) -> None:
    url = f"{base}/hook/{flow.id}"
    methods = ",".join(flow.webhook.methods)
    if missing:
        lines.say(f"  {flow.id:<18} inactive  {_lacks(missing)}")
    else:
        lines.say(f"  {flow.id:<18} active    {methods} {url}", hook=url, flow=flow.id)


def _show_next(lines: EventLines, hosted: Hosted, active: Sequence[Flow]) -> None:
    base = f"http://{hosted.http}"
    path = hosted.directory.path
    lines.say("")
    if not hosted.options.executor:
        lines.say("  Events are kept and not run: --no-executor.", executor=False)
    if not active:
        lines.say(f"  No flow is active: put a flow file into {path}/.")
    for flow in active:
        if any(isinstance(auth, NoAuth) for auth in flow.webhook.auth):
            curl = (
                f"curl -H 'content-type: application/json' -d '{SAMPLE}' "
                f"{base}/hook/{flow.id}"
            )
            lines.say(f"  Try it:    {curl}", curl=curl)
            break
    token = hosted.options.data / TOKEN_FILE
    lines.say(f"  Flows:     {path}/ (a changed file is applied at once)")
    lines.say(f"  Internal:  gRPC {hosted.grpc}, token in {token}")
    lines.say(f"  Admin:     http://{hosted.admin}/metrics")
    lines.say("  Stop:      Ctrl-C\n")


def show_changes(lines: EventLines, news: News) -> None:
    """Say what applying the flow files has brought."""
    for applied in news.changed:
        lines.say(
            f"  {applied.flow_id:<18} version {applied.version} is applied",
            flow=applied.flow_id,
            version=applied.version,
        )
    for one in news.inactive:
        state, goes_on = "inactive ", ""
        if one.served_version:
            state = "unchanged"
            goes_on = f" (version {one.served_version} goes on)"
        lines.say(
            f"  {one.flow_id:<18} {state} {_lacks(one.missing_secrets)}{goes_on}",
            inactive=one.flow_id,
            missing_secrets=one.missing_secrets,
            served_version=one.served_version,
        )
    for flow_id in news.without_file:
        lines.say(
            f"  {flow_id:<18} has no file here: it is served as it was applied",
            without_file=flow_id,
        )
    for left in news.overruled:
        lines.say(
            f"  {left.flow_id:<18} was {left.done}: its file is left alone. To have it as "
            "the file says, change the file, or: hookline apply -f FILE",
            overruled=left.flow_id,
            done=left.done,
        )
    _show_mistakes(lines, news.mistakes)


def _show_mistakes(lines: EventLines, mistakes: Sequence[Mistake]) -> None:
    for mistake in mistakes:
        line = f":{mistake.line}" if mistake.line else ""
        field = f" {mistake.field}:" if mistake.field else ""
        text = f"{mistake.file_name}{line}:{field} {mistake.text}"
        lines.say(f"  {text} (the version before it, if any, goes on)", mistake=text)


def _lacks(missing: Sequence[str]) -> str:
    return "set " + " ".join(f"HOOKLINE_SECRET_{name}" for name in missing)
