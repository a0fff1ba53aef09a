import pytest

from h2gate.cli.check import facts
from h2gate.cli.main import main
from h2gate.config.model import Config

GOOD = """\
workers: 3
listeners:
  - address: 127.0.0.1:0
routes:
  - backend: app
backends:
  app:
    endpoints: [h2c://127.0.0.1:1, h2c://127.0.0.1:2]
    pool: {max_connections: 4}
"""


@pytest.fixture
def check(tmp_path, capsys):
    def run(text):
        path = tmp_path / "gate.yaml"
        path.write_text(text)
        code = main(["check", "-c", str(path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_good_config_is_ok_with_what_it_comes_to(check):
    code, out, err = check(GOOD)
    assert (code, err) == (0, "")
    assert out.startswith("OK ")
    assert "  workers: 3\n" in out
    assert "  listener 127.0.0.1:0: HTTP/1.1 and HTTP/2\n" in out
    assert "    connections: 3 workers x 2 endpoints x 4 = 24 at most\n" in out
    assert "    responses: 24 connections x 100 streams x 256KiB = 600MiB at most\n" in out
    assert "  backend connections: 24 at most\n  memory ceiling of responses: 600MiB\n" in out


def test_the_streams_bound_the_memory(check):
    out = check(GOOD.replace("max_connections: 4", "max_connections: 1, max_streams: 10, stream_window: 64KiB"))[1]
    assert "    responses: 6 connections x 10 streams x 64KiB = 3840KiB at most\n" in out


def test_all_problems_of_a_bad_config_are_told_at_once_with_78(check):
    code, out, err = check(GOOD.replace("workers", "wokers").replace("backend: app", "backend: ap"))
    assert (code, out) == (78, "")
    assert "gate.yaml:1:1: wokers: " in err
    assert "gate.yaml:5:" in err
    assert "gate.yaml:7:3: backends.app: " in err
    assert err.endswith("h2gate: 3 problems to correct\n")


def test_a_file_that_is_not_there_is_78(capsys, tmp_path):
    assert main(["check", "-c", str(tmp_path / "none.yaml")]) == 78
    assert capsys.readouterr().err == (
        f"{tmp_path}/none.yaml: cannot read it: No such file or directory\nh2gate: 1 problem to correct\n"
    )


def test_a_certificate_that_is_none_is_78_and_told_by_its_place(check, tmp_path):
    (tmp_path / "x.pem").write_text("nonsense")
    tls = "  - {address: '[::1]:0', tls: {certificates: [{cert: x.pem, key: x.pem}]}}\nroutes:"
    code, _, err = check(GOOD.replace("routes:", tls))
    assert code == 78
    assert f"gate.yaml:4:54: listeners[1].tls.certificates[0].cert: {tmp_path}/x.pem: it holds no certificate" in err
    assert "\n      - {address: '[::1]:0', tls: " in err
    assert err.endswith("h2gate: 1 problem to correct\n")


def test_a_user_that_does_not_exist_is_78(check):
    code, _, err = check(GOOD + "user: h2gate-nobody\n")
    assert code == 78
    assert "gate.yaml:10:7: user: there is no user h2gate-nobody on this machine: create it or change user\n" in err


def test_a_gate_without_backends_needs_no_memory_for_them():
    config = Config.model_validate(
        {"listeners": ({"address": "127.0.0.1:0"},), "routes": ({"respond": {"status": 204}},)}
    )
    assert list(facts(config, 1))[-2:] == ["backend connections: 0 at most", "memory ceiling of responses: 0"]
