"""Settings and their reference."""

from pathlib import Path

import pytest

from hookline.cli.reference import reference, twins
from hookline.errors import BadConfiguration
from hookline.settings import FLAGS, Settings, names


def test_all_mistakes_are_told_at_once_without_the_values() -> None:
    """Each by its name; a name that is none with the one that may be meant."""
    with pytest.raises(BadConfiguration) as told:
        Settings.read(
            {
                "HOOKLINE_LOG__PARTITIONS": "plenty",
                "HOOKLINE_KAFKA__SASL_PASWORD": "hunter2",
                "HOOKLINE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            }
        )

    text = str(told.value)
    assert "HOOKLINE_LOG__PARTITIONS: " in text
    assert "did you mean HOOKLINE_KAFKA__SASL_PASSWORD?" in text
    assert "HOOKLINE_KAFKA__SASL_MECHANISM" in text
    assert "plenty" not in text
    assert "hunter2" not in text


def test_secrets_are_not_shown() -> None:
    """Neither tokens nor passwords, however the settings are printed."""
    settings = Settings.read(
        {
            "HOOKLINE_ROUTER__TOKENS": "hunter1,hunter2",
            "HOOKLINE_ROUTER__EDGE_TOKENS": "hunter3",
            "HOOKLINE_INGRESS__ROUTER_TOKEN": "hunter4",
            "HOOKLINE_KAFKA__SASL_PASSWORD": "hunter5",
        }
    )

    assert len(settings.router.tokens) == 2
    assert "hunter" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_no_event_could_be_accepted_with_fewer_copies_than_it_needs() -> None:
    with pytest.raises(BadConfiguration, match=r"MIN_INSYNC \(2\) is more"):
        Settings.read({"HOOKLINE_KAFKA__REPLICATION": "1"})


def test_the_reference_is_up_to_date() -> None:
    """`make docs` writes it."""
    page = Path("docs/settings.md").read_text(encoding="utf-8")

    assert page == reference()


def test_every_setting_and_flag_is_in_the_reference() -> None:
    """With a sentence each."""
    page = reference()

    assert all(f"`{name}`" in page for name in [*names(), *twins()])
    assert "None" not in page


def test_the_twins_of_flags_are_no_settings() -> None:
    """Each is let through by name, and nothing else but what the flags are not for."""
    words = ("SECRETS_DIR", "REQUIRE", "TEST_KAFKA", "FAILPOINTS")
    others = {f"HOOKLINE_{word}" for word in words}

    assert twins() | others == FLAGS
