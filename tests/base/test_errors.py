import pytest

from h2gate.errors import RULES, Again, ErrorCode, Failure, Origin, Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_rule_with_an_error_status(reason):
    assert 400 <= RULES[reason].status < 600


# Of PING: the client has not waited long, and the request was not sent.
@pytest.mark.parametrize("reason", [r for r in Reason if r.value.endswith("_timeout") and r is not Reason.PING_TIMEOUT])
def test_a_timeout_is_never_retried(reason):
    assert RULES[reason].again is Again.NEVER


def test_a_broken_stream_never_ends_with_no_error():
    assert all(rule.code is not ErrorCode.NO_ERROR for rule in RULES.values())


def test_what_a_client_did_is_never_retried():
    assert {r.again for r in RULES.values() if r.origin is Origin.CLIENT} == {Again.NEVER}


def test_a_failure_reads_as_its_word_and_detail():
    assert str(Failure(Reason.TLS_VERIFY, "hostname mismatch")) == "tls_verify: hostname mismatch"
    assert Failure(Reason.QUEUE_FULL).word == "queue_full"
    assert Failure(Reason.QUEUE_FULL).rule.status == 503
