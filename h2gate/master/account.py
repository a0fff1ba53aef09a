"""The user that workers run as. The rule: looked up and judged in the master, where a mistake still stops the start."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from h2gate.config.problems import BadValue
from h2gate.errors import ExitCode, StartError


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int

    def become(self) -> None:
        """Drop to this user, for good: groups first, the user last, as only root may change groups."""
        os.initgroups(self.name, self.gid)
        os.setgid(self.gid)
        os.setuid(self.uid)


def find(user: str | None) -> Account | None:
    """Return whom to become, or None where nothing is to be done.

    Raises StartError where there is no such user (78), or the gate may not become it (77).
    """
    if user is None:
        return None
    account = look_up(user)
    if os.geteuid() == account.uid:
        return None
    if os.geteuid() != 0:
        raise StartError(f"user: only root can drop to {user}: start as root or remove user", ExitCode.NO_PERMISSION)
    return account


def look_up(user: str) -> Account:
    """Return the user of that name. Raises BadValue (78) where there is none."""
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise BadValue("user", f"there is no user {user} on this machine: create it or change user") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
