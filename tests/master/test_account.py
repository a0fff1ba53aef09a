import os
import pwd

import pytest

from h2gate.errors import ExitCode, StartError
from h2gate.master import account


def test_no_user_is_nobody_to_become():
    assert account.find(None) is None


def test_the_user_we_are_needs_no_drop():
    assert account.find(pwd.getpwuid(os.geteuid()).pw_name) is None


def test_root_may_become_another(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    entry = pwd.getpwnam("nobody")
    assert account.find("nobody") == account.Account("nobody", entry.pw_uid, entry.pw_gid)


def test_others_may_not_and_are_told_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StartError, match="only root can drop to nobody: start as root or remove user") as failure:
        account.find("nobody")
    assert failure.value.exit_code == ExitCode.NO_PERMISSION


@pytest.mark.parametrize("name", ["h2gate-nobody", "", "a\0b"])
def test_a_user_that_does_not_exist_is_a_bad_config(name):
    with pytest.raises(StartError, match="there is no user") as failure:
        account.find(name)
    assert failure.value.exit_code == ExitCode.BAD_CONFIG


def test_groups_go_first_and_the_user_last(monkeypatch):
    calls = []
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *args, name=name: calls.append((name, *args)))
    account.Account("app", 7, 8).become()
    assert calls == [("initgroups", "app", 8), ("setgid", 8), ("setuid", 7)]
