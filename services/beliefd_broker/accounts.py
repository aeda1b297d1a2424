"""What each client may do: roles and quotas of those that the operator gave a token. Pure: grants and times come in."""

from __future__ import annotations

from collections.abc import Iterable

from beliefd_proto import Command, Role
from beliefd_proto.errors import Busy, NotPermitted, Unauthenticated
from beliefd_proto.messages import AgentRequest, Request
from beliefd_proto.roles import needed
from beliefd_service.access import Grant, sha256_of
from beliefd_service.quota import Bucket


class Account:
    """One client's role and what it has used of its quotas; all its sessions share it.

    `guarded` is False where everything is allowed, so that nothing has to be looked at then; `steps_freely` is True
    where steps are, as many as come.
    """

    def __init__(self, grant: Grant | None, now_s: float) -> None:
        self.grant = grant
        self.role = Role.ADMIN if grant is None else grant.level
        self.sessions = None if grant is None else grant.sessions
        self._requests = self._agents = None
        if grant is not None and grant.requests_per_s is not None:
            self._requests = Bucket(grant.requests_per_s, now_s)
        if grant is not None and grant.agents_per_s is not None:
            self._agents = Bucket(grant.agents_per_s, now_s)
        has_quotas = bool(self._requests or self._agents)
        self.guarded = self.role < Role.ADMIN or has_quotas
        self.steps_freely = self.role >= needed(Command.STEP) and not has_quotas

    def permit(self, command: Command) -> None:
        """Refuse what the role does not allow.

        Raises
        ------
        NotPermitted
        """
        least = needed(command)
        if self.role < least:
            allowed = " or ".join(role.text for role in Role if role >= least)
            raise NotPermitted(
                f"{command.name} needs a higher role; the operator gives one with beliefd-keys",
                field="role",
                value=self.role.text,
                allowed=allowed,
            )

    def charge(self, header: Request, now_s: float) -> None:
        """Count a request against the quotas; one that any of them refuses is counted against none.

        Raises
        ------
        Busy
        """
        agents = self._agents if isinstance(header, AgentRequest) else None
        if agents is not None and (wait_s := agents.wait_s(now_s)):
            raise _spent("agents_per_s", self.grant.agents_per_s if self.grant else None, wait_s)
        if self._requests is not None and (wait_s := self._requests.take(1.0, now_s)):
            raise _spent("requests_per_s", self.grant.requests_per_s if self.grant else None, wait_s)
        if agents is not None and isinstance(header, AgentRequest):
            agents.take(header.count, now_s)


class Accounts:
    """All accounts by the digest of their token; one for everybody where there are no keys."""

    def __init__(self, grants: Iterable[Grant] | None, now_s: float) -> None:
        self._open = Account(None, now_s) if grants is None else None
        self._by_token: dict[str, Account] = {}
        if grants is not None:
            self.renew(grants, now_s)

    def of(self, token: str) -> Account:
        """The account of whoever shows this token.

        Raises
        ------
        Unauthenticated
        """
        if self._open is not None:
            return self._open
        account = self._by_token.get(sha256_of(token))
        if account is None:
            raise Unauthenticated(
                "this server wants a token that it knows; its operator makes one with beliefd-keys",
                field="token",
                value="none" if not token else "one that is unknown or was revoked",
            )
        return account

    def renew(self, grants: Iterable[Grant], now_s: float) -> None:
        """Take the grants that hold from now on. An unchanged one keeps its account, and what was used of it."""
        old = self._by_token
        self._by_token = {}
        for grant in grants:
            account = old.get(grant.token_sha256)
            unchanged = account is not None and account.grant == grant
            self._by_token[grant.token_sha256] = account if account and unchanged else Account(grant, now_s)

    def holds(self, account: Account) -> bool:
        """Whether an account has not been changed or revoked."""
        return account is self._open or account in self._by_token.values()


def _spent(quota: str, allowed: float | None, wait_s: float) -> Busy:
    return Busy("this client's quota is used up for now", field=quota, allowed=f"{allowed:g}", retry_after_s=wait_s)
