from __future__ import annotations

import pytest

from services.kernel.settings import ROOT, InvalidSettings, Settings

NEEDED = {"CANDOR_IDENTIFIER_KEY": "00" * 16, "CANDOR_POSTGRES_PASSWORD": "hush-hush"}


def test_every_error_is_reported_at_once_and_by_name() -> None:
    with pytest.raises(InvalidSettings) as invalid:
        Settings.from_environment(
            {
                "CANDOR_IDENTIFIER_KEY": "abc",
                "CANDOR_INGEST_PORT": "99999",
                "CANDOR_LOG_LEVEL": "LOUD",
                "CANDOR_PROXIES": "10.0.0.0/8,proxy",
                "CANDOR_CONNECTIONS": "0",
            }
        )
    text = str(invalid.value)
    wrong = ("IDENTIFIER_KEY", "POSTGRES_PASSWORD", "INGEST_PORT", "LOG_LEVEL", "PROXIES", "CONNECTIONS")
    for name in wrong:
        assert f"CANDOR_{name}" in text
    assert "abc" not in text


def test_secrets_do_not_show() -> None:
    settings = Settings.from_environment(NEEDED)
    assert "hush-hush" not in repr(settings)
    assert str(settings.identifier_key) not in repr(settings)


def test_relative_paths_are_the_projects() -> None:
    settings = Settings.from_environment(
        {
            **NEEDED,
            "CANDOR_HOME": "state",
            "CANDOR_POLICY": "/etc/policy.yaml",
            "CANDOR_INGEST_RULES": "a.yaml",
        }
    )
    assert settings.home == ROOT / "state"
    assert str(settings.policy) == "/etc/policy.yaml"
    assert settings.ingest_rules == ROOT / "a.yaml"


def test_the_prefix_goes_before_every_topic() -> None:
    settings = Settings.from_environment({**NEEDED, "CANDOR_TOPIC_PREFIX": "eu."})
    assert settings.topic("events.collected") == "eu.events.collected"
