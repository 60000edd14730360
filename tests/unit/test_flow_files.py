"""Flow files: every mistake at once, with file, line, field and a way out."""

import pytest

from hookline.components import component_types
from hookline.components.steps import check_steps, secret_names
from hookline.flow_file import FlowFile, Mistake, ReadFlow, read_flows
from hookline.mistakes import Place

GOOD = """\
id: good
trigger:
  webhook:
    auth: {type: hmac, secret: "${secret:A}"}
steps:
  - id: one
    use: transform
    with: {body: =body}
"""


def check(flow: object) -> list[tuple[Place, str]]:
    return list(check_steps(flow, component_types()))  # type: ignore[arg-type] # a Flow


def read(*contents: str | bytes) -> tuple[list[ReadFlow], list[Mistake]]:
    files = [
        FlowFile(f"{n}.yaml", c if isinstance(c, bytes) else c.encode())
        for n, c in enumerate(contents)
    ]
    return read_flows(files, check)


def mistakes(content: str | bytes) -> list[tuple[int, str, str]]:
    """Line, field and text of each mistake; a file with one gives no flow."""
    flows, found = read(content)
    assert not flows
    return [(one.line, one.field, one.text) for one in found]


def test_a_good_file_is_a_flow() -> None:
    [flow], found = read(GOOD)

    assert not found
    assert flow.flow.id == "good"
    assert flow.definition["steps"][0]["with"] == {"body": "=body"}
    assert secret_names(flow.flow) == {"A"}


def test_json_is_yaml_too() -> None:
    [flow], found = read(
        '{"id": "j", "trigger": {"webhook": {"auth": {"type": "none"}}},'
        ' "steps": [{"id": "a", "use": "transform", "with": {"body": 1}}]}'
    )

    assert not found
    assert flow.flow.id == "j"


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "text"),
    [
        ("trigger:", "tirgger:", 2, "tirgger", "did you mean 'trigger'?"),
        ("auth:", "auht:", 4, "trigger.webhook.auht", "did you mean 'auth'?"),
        ("use: transform", "use: tranform", 7, "steps.0.use", "'transform'"),
        ("{body: =body}", "{bdy: 1, body: 2}", 8, "steps.0.with.bdy", "'body'"),
        ("{body: =body}", "{body: '=body.('}", 8, "steps.0.with.body", "JSONata"),
        ("id: good", "id: a b", 1, "id", "letters, digits, - and _"),
        ("id: good", "id: 5", 1, "id", "must be text"),
        ('"${secret:A}"', "hunter2", 4, "trigger.webhook.auth.secret", "never holds"),
        ("type: hmac", "type: hamc", 4, "trigger.webhook.auth", "no type 'hamc'"),
        ("type: hmac", "type: hmac, tolerance: soon", 4, "", "20s"),
        ("type: hmac", 'type: hmac, template: "{ts}"', 4, "", "timestamp_header"),
        ("type: hmac", "type: hmac, timestamp_header: x-ts", 4, "", "put {ts}"),
        ("type: hmac", "type: hmac, id_header: x-id", 4, "", "put {id}"),
        ("type: hmac", 'type: hmac, template: "{boddy}"', 4, "", "{boddy}"),
        ("    auth:", "    max_body: 20TB\n    auth:", 4, "", "write a size like"),
        ("    auth:", "    methods: [post]\n    auth:", 4, "", "'POST'"),
        ("    auth:", "    response: {status: 404}\n    auth:", 4, "", "at most 299"),
        (
            "    auth:",
            '    response: {headers: {X-A: "a\\nb"}}\n    auth:',
            4,
            "",
            "printable",
        ),
        (
            "    auth:",
            "    response: {body: =body.}\n    auth:",
            4,
            "",
            "not a JSONata expression",
        ),
        *(
            ("    auth:", f"    {mistake}\n    auth:", line, "", text)
            for line, mistake, text in (
                (4, 'response: {body: "${secret:A}"}', "cannot hold a secret"),
                (4, "response: {headers: {Date: x}}", "set by Hookline itself"),
                (4, "response: {headers: {X-A: 5}}", "must be text"),
                (4, "rate: {limit: 0}", "at least 1"),
                (4, "rate: {limit: 5, per: day}", "'second', 'minute' or 'hour'"),
                (4, "rate: {limit: 5, bytes: lots}", 'a size like "1MB"'),
                (4, "rate: {per: hour}", "this field is needed"),
                (4, "in_flight: 0", "at least 1"),
                (4, "allow_from: [10.0.0.1/8]", "no network"),
                (4, "allow_from: shop.example", "no network"),
                (4, "allow_from: []", "at least 1 item"),
                (4, "on_reject: {status: 200}", "at least 400"),
                (4, "on_reject: {status: 503}", "at most 499"),
                (4, "on_reject: {status: 404, body: {a: =body}}", "no expression"),
                (
                    4,
                    "on_reject: {status: 404, headers: {Server: x}}",
                    "Hookline itself",
                ),
                (4, "cors: {origins: https://a.example/}", "no origin"),
                (4, "cors: {origins: [a.example]}", "no origin"),
                (4, "cors: {origins: '*', headers: [a b]}", "not a header's name"),
                (4, "cors: {origins: '*', max_age: soon}", "20s"),
                (4, "handshake: https://a.example", "no host"),
                (4, "conceal: perhaps", "true or false"),
                (
                    3,
                    "conceal: true\n    on_reject: {status: 404}",
                    "leave one of them out",
                ),
                (3, "conceal: true\n    cors: {origins: '*'}", "leave one of them out"),
                (3, "conceal: true\n    handshake: '*'", "leave one of them out"),
            )
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_a_way_out(
    old: str, new: str, line: int, field: str, text: str
) -> None:
    found = mistakes(GOOD.replace(old, new))

    assert any(
        where == line and (not field or name == field) and text in what
        for where, name, what in found
    ), found


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    found = mistakes("id: x y\nname: 5\ntrigger: {webhook: {}}\nsteps: []\nextra: 1\n")

    assert [line for line, _, _ in found] == [1, 2, 3, 4, 5]


def test_two_steps_of_one_name_are_a_mistake() -> None:
    found = mistakes(GOOD + "  - {id: one, use: transform, with: {body: 1}}\n")

    assert found == [(9, "steps.1.id", "there is a step 'one' already")]


def test_two_files_of_one_flow_are_a_mistake_and_the_first_counts() -> None:
    flows, found = read(GOOD, GOOD)

    assert [flow.file_name for flow in flows] == ["0.yaml"]
    assert found == [Mistake("1.yaml", 0, "id", "0.yaml has a flow 'good' already")]


@pytest.mark.parametrize(
    ("content", "line", "text"),
    [
        ("id: [", 1, "not YAML"),
        ("id: a\nid: b\n", 2, "name it once"),
        ("id: a\n---\nid: b\n", 2, "more than one flow"),
        ("- a\n", 0, "is an object"),
        ("", 0, "is an object"),
        (b"id: a\nname: \xff\n", 2, "not UTF-8"),
        (b"#" * 1_000_001, 0, "at most 1000000 bytes"),
    ],
)
def test_what_is_no_flow_file_is_said_to_be_none(
    content: str | bytes, line: int, text: str
) -> None:
    [(where, _, what)] = mistakes(content)

    assert text in what
    assert where == line


def test_a_mistake_in_the_only_item_of_a_list_is_one_mistake() -> None:
    found = mistakes(GOOD.replace("use: transform", "use: transform\n    wiht: 1"))
    assert [(line, field) for line, field, _ in found] == [(8, "steps.0.wiht")]

    found = mistakes(GOOD.replace("    auth:", "    methods: [FETCH]\n    auth:"))
    assert [field for _, field, _ in found] == ["trigger.webhook.methods.0"]


@pytest.mark.parametrize("name", ["hmac", "basic", "none"])
def test_a_field_that_is_named_like_a_scheme_is_named(name: str) -> None:
    found = mistakes(GOOD.replace("    auth:", f"    {name}: 1\n    auth:"))

    [(line, field, text)] = found
    assert (line, field) == (4, f"trigger.webhook.{name}")
    assert text.startswith(f"unknown field '{name}'")


def test_the_fields_of_another_scheme_are_no_suggestion() -> None:
    [(_, field, text)] = mistakes(GOOD.replace("type: hmac", "type: hmac, usernam: x"))

    assert field == "trigger.webhook.auth.usernam"
    assert "username" not in text
